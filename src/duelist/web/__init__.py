"""Annotation server: people label the questions that a study asks, in the browser."""
