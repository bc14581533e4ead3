"""Prompts -> responses. One file per scheme."""
