"""Judges: models that say which of two responses is better, always asked in both orders."""
