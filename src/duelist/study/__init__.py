"""A study: ask, tell, update, run; the stages of a round; what is trained."""
