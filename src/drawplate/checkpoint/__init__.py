"""Checkpoints in Hugging Face format, read and written tensor by tensor."""
