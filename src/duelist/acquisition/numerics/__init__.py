"""Numerical methods shared by the rules: greedy and optimal designs, posteriors, calibration. Contains no rule."""
