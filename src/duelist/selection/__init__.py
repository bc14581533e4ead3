"""Selection from a pool without a study: `duelist.select`, and the command `duelist select`."""
