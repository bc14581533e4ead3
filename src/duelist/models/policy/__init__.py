"""The policy: its weights and tokens, the reference, log-probabilities and the implicit reward."""
