"""Reports from a study's record: its status, and a page of figures and tables."""
