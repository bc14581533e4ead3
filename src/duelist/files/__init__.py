"""Files that are whole or not there, and locks on them."""
