"""Structured pruning of a decoder to a smaller dense one: layers, key/value groups, MLP channels."""
