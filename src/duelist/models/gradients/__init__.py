"""Per-response LoRA gradients, projected during the backward pass."""
