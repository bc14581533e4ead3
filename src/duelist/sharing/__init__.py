"""Publication of a study on the Hugging Face Hub: its weights and its preferences, each with a card that is filled."""
