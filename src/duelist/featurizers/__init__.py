"""Featurizers: they compute the features of pairs that the acquisition rule asks for, and no others."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
