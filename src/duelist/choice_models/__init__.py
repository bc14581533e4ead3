"""Models of how people choose among several responses: rankings, the best, the best and the worst."""
