"""Statistics of people's votes, and the training shares they add up to: pure functions over labels."""
