"""Policy: weights and tokens, reference, log-probabilities and implicit reward."""
