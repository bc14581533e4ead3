"""Models: log-probabilities and gradients of responses."""
