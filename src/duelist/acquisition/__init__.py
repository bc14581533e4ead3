"""Features -> Selection: rules that select the comparisons to label. One file per family; all share one greedy engine.

An acquisition sees arrays, never a model or a text. Call it through `choose`, which checks its contract.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
