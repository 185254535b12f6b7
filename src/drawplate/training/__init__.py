"""Training of whole models and of adapters: the loop, its windows, its checkpoints."""
