"""Recovery after a loss: training on text, of adapters or of all weights."""
