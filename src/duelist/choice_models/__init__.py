"""Choice models: the probability of an answer given the rewards of its responses. NumPy and SciPy only."""
