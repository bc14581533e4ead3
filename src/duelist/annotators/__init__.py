"""Pairs -> labels: a reward function, a reward model, or the labels a data set already has."""
