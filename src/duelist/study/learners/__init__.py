"""What a study trains: a policy, a reward model, or both."""
