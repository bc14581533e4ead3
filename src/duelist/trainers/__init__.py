"""Trainers: labels -> a policy or a reward model. Losses are pure functions or TRL's own.

The head of each trl_*.py module lists the TRL internals we rely on.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
