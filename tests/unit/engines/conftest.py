"""The tiny models, compiled once."""

from tests.tiny_engines import checkpoint, compiled, copied, reference

__all__ = ["checkpoint", "compiled", "copied", "reference"]
