"""What a study's record says: its status, and a page of figures and tables."""
