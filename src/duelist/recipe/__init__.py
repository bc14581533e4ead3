"""Recipes: from a file to validated components."""
