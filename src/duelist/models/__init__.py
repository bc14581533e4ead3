"""Models: loading, decoding, log-probabilities, gradients and embeddings of responses, and rewards."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
