"""Trained models of a study: a policy, a reward model, or both."""
