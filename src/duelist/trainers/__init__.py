"""Labels -> a policy. Losses are pure functions or TRL's own; TRL's internals are touched in one module only."""
