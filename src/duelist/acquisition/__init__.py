"""Features -> Selection: which comparisons to label. One file per family, one greedy engine under them.

An acquisition sees arrays, never a model or a text. Call it through `choose`, which holds it to its contract.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
