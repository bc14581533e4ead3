"""Pictures of the comparisons that each rule picks."""
