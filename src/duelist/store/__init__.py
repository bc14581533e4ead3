"""The append-only record of a study: the sole writer of its database, and of its folder."""
