"""What can be said of a recipe before anything is drawn, asked or written: what is wrong, what it costs."""
