"""Duelist: annotation-efficient preference alignment.

`import duelist` is light: each name is imported on first use, and torch with the first name that needs it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
