"""Drawplate: a base checkpoint goes in, measured and traceable deployable artifacts come out."""

__version__ = "0.1.0"
