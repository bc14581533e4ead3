"""Pictures of what every rule picks."""
