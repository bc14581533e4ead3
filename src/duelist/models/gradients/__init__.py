"""Per-response LoRA gradients, projected as they are computed."""
