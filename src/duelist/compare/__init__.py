"""Many studies side by side, paired by seed: which rule needs fewer labels.

`arms` says which studies, `running` runs them in processes of their own, `curves` reads what they measured,
`statistics` and `summary` say what it amounts to, `tables` and `picture` show it; `comparison` is all of it in order.
`beside` runs the few studies that a recipe wants beside itself.
"""
