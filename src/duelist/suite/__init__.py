"""The suite: whether choosing pairs saves labels, in worlds made to show when it should and when it should not.

A suite is one comparison (`duelist.compare`) per world, references beside it, and one report. `worlds` reads the
presets; `training` chooses how a world trains, by random's J alone; `plan` lists the studies; `running` runs them;
`statistics` and `summary` judge the arms; `report` writes one page. `annotator`, `rules`, `truth` and `look_ahead` are
components that only the suite's recipes name: some see the true rewards.
"""
