"""Recipes: a file <-> the components it names with their settings, what must be made first, what each round is due."""
