"""Reading and checking settings: YAML, validation messages, objects by name."""
