"""Makes the helpers in this folder importable from its subfolders."""
