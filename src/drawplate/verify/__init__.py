"""A reloaded engine against the checkpoint it was made from."""
