"""Duelist: annotation-efficient preference alignment.

`import duelist` is light: a name is imported when it is first used, and torch with the first that needs it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
