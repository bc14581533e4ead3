"""A model -> metrics: reward on held-out prompts, win rate, KL, and their trade-off J."""
