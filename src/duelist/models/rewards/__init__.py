"""Reward models on fixed embeddings, and rewards given by a function or a trained classifier."""
