"""Comparison of rules by studies paired by seed: which rule needs fewer labels.

`arms` lists the studies. `running` runs them in worker processes. `curves` reads their metrics. `statistics` and
`summary` compare the arms. `tables` and `picture` present the results. `comparison` runs a comparison from start to
end. `beside` runs the arms under a recipe's `compare` key.
"""
