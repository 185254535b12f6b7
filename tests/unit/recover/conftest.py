"""The tiny models and text, made once."""

from tests.tiny_training import base, damaged, text_data

__all__ = ["base", "damaged", "text_data"]
