"""Pairs -> Features: what an acquisition may look at. Only what it asks for is computed."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
