"""Cascade of a judge and people: the judge labels what it is trusted with, people the rest and a random audit."""
