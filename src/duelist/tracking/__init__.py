"""Reporting of a whole study to an experiment tracker: one run over all rounds, with labels as the step."""
