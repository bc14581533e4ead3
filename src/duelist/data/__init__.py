"""Rows of data sets, and the prompts they hold."""
