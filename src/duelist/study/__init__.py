"""Studies: ask, tell, update and run; the stages of a round; the trained models."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
