"""Evaluation: a model -> metrics such as reward on held-out prompts, win rate, KL, and their trade-off J."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
