"""What an engine folder is served as: a language model, or a sentence encoder."""

import functools
import json
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI

from drawplate_server.app import make_app
from drawplate_server.backends import open_backend
from drawplate_server.embedding_app import make_embedding_app
from drawplate_server.encoders import open_encoder
from drawplate_server.leaving import Leaving
from drawplate_server.settings import Settings
from drawplate_server.text import Text

Make = Callable[[str | None, str, Leaving], FastAPI]
"""From the key that requests must carry, the engine's digest, and whether the server was told to end."""


def open_served(settings: Settings) -> Make:
    """Load the engine, and what makes the application over it.

    Raises:
        StartError: If it cannot be loaded.
    """
    text = Text(settings.model)
    if _is_encoder(settings.model):
        encoder = open_encoder(
            settings.model, settings.threads, settings.slots, settings.max_prompt_tokens
        )
        return functools.partial(make_embedding_app, settings, encoder, text)
    backend = open_backend(settings.model, settings.threads, settings.max_tokens, settings.slots)
    return functools.partial(make_app, settings, backend, text)


def _is_encoder(folder: Path) -> bool:
    pointer = folder / "engine.json"
    return pointer.exists() and json.loads(pointer.read_text()).get("task") == "encoder"
