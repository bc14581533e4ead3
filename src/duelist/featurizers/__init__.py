"""Pairs -> Features: what an acquisition may look at. Only what it asks for is computed."""
