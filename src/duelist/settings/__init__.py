"""Reading and validation of settings: YAML, validation messages, objects by name."""
