"""Where prompts come from: a JSONL or Parquet file, or a data set of the hub; plain or conversational."""
