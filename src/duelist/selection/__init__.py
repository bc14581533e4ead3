"""Choosing from a pool outside any study: `duelist.select`, and `duelist select`."""
