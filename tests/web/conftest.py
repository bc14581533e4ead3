"""Makes the helpers in this folder importable from its subfolders, and gives the tests of the page a browser."""

from chromium import browser

__all__ = ["browser"]
