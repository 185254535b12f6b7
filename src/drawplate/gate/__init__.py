"""Thresholds to a verdict: whether a variant may be packaged, and why not."""
