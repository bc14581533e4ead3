"""Models: loading them, decoding, log-probabilities, gradients and embeddings of responses, rewards."""
