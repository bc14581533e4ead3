"""A study: ask, tell, update, run; the stages of a round; what is trained."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
