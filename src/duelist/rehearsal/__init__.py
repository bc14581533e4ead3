"""Rules replayed on preferences that a team already has, before the first label is paid."""
