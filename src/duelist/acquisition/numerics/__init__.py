"""What the rules compute with: greedy and optimal designs, posteriors, calibration. No rule is here."""
