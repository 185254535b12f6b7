"""The largest requests that an image's limits allow, as many at once as it answers: its memory has to hold them."""

import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from drawplate.engines.tokenizer import load_tokenizer
from drawplate.package.request import post

TEXT = "The sea was calm that morning, and the boats lay still. "
TOKENS_OF_A_PASS = 4096
"""That the server of an encoder reads together, padding included."""
SPARE_S = 10.0
"""For a server to say that a request took too long."""


def ask_fullest(
    address: str, model: str, engine: Path, limits: dict[str, Any], *, encoder: bool = False
) -> dict[str, Any]:
    """Ask a server for what it allows at most, in every slot.

    Args:
        address: Of the server.
        model: As it names it.
        engine: Folder whose tokenizer makes the prompt.
        limits: `package.limits`.
        encoder: Whether it is asked for embeddings.

    Returns:
        `prompt_tokens`, `new_tokens` (0 of an encoder), `at_once`, `seconds` (until the last was
        answered) and `failed` (not answered, for example not within `timeout_s`).
    """
    prompt, slots = limits["max_prompt_tokens"], limits["slots"]
    ids = load_tokenizer(engine).encode(TEXT, add_special_tokens=False)
    ids = (ids * (prompt // len(ids) + 1))[:prompt]
    if encoder:
        route, new_tokens = "embeddings", 0
        body: dict[str, Any] = {"input": [ids] * max(1, TOKENS_OF_A_PASS // prompt)}
    else:
        route, new_tokens = "completions", limits["max_new_tokens"]
        body = {"prompt": ids, "max_tokens": new_tokens, "temperature": 0, "ignore_eos": True}

    def failed(_: int) -> bool:
        try:
            seconds = limits["timeout_s"] + SPARE_S
            post(f"{address}/v1/{route}", {"model": model, **body}, seconds)
        except (urllib.error.URLError, OSError, ValueError):
            return True
        return False

    started = time.monotonic()
    with ThreadPoolExecutor(slots) as threads:
        failures = sum(threads.map(failed, range(slots)))
    return {
        "prompt_tokens": prompt,
        "new_tokens": new_tokens,
        "at_once": slots,
        "seconds": round(time.monotonic() - started, 2),
        "failed": failures,
    }
