"""Append-only record of a study: the only writer of its database and its folder."""
