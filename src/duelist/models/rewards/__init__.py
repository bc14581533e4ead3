"""Reward models on fixed embeddings, and rewards computed by a function or a trained classifier."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
