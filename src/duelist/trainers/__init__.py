"""Labels -> a policy or a reward model. Losses are pure functions or TRL's own; what is relied on inside TRL is listed
at the head of each trl_*.py module."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
