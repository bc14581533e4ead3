"""Who computes map-shaped work: this process, or workers that each hold the model (docs/adr/0011-engines.md)."""
