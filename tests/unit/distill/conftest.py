"""The tiny models and text, made once."""

from tests.tiny_encoders import encoder_base, encoder_data
from tests.tiny_training import base, damaged, text_data

__all__ = ["base", "damaged", "encoder_base", "encoder_data", "text_data"]
