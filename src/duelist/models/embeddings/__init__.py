"""Fixed embeddings of prompt and response: sources, files, cache."""
