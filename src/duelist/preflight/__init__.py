"""Checks and cost estimates of a recipe before anything is drawn, asked or written."""
