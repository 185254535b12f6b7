"""The tiny encoder, made once."""

from tests.tiny_encoders import encoder_base, encoder_data

__all__ = ["encoder_base", "encoder_data"]
