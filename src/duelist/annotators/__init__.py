"""Pairs -> labels: a reward function, a reward model, or the labels a data set already has."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
