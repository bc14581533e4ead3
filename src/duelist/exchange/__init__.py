"""Files of other labelling tools: a study's questions for them, and their votes back as labels."""
