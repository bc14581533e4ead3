"""Responses -> candidate pairs."""
