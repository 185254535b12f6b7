"""A check of a GPU with nothing but PyTorch: each kind of work once, on random weights."""
