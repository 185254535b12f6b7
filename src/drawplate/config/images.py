"""Names of container images, and of the registries that they are pulled from."""

import re
from typing import Annotated

from pydantic import AfterValidator

HOST = r"[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::(?P<port>[0-9]+))?"
PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
PATH = rf"{PART}(?:/{PART})*"
NAME = rf"(?:{HOST}/)?{PATH}"
TAG, DIGEST = r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", r"@sha256:[0-9a-f]{64}"
HIGHEST_PORT = 65535


def _named(pattern: str, words: str) -> AfterValidator:
    """A name that a pattern describes, with a port that there can be."""

    def check(value: str) -> str:
        found = re.fullmatch(pattern, value)
        if not found:
            raise ValueError(words)
        if found["port"] and not 1 <= int(found["port"]) <= HIGHEST_PORT:
            raise ValueError(f"write a port from 1 to {HIGHEST_PORT}")
        return value

    return AfterValidator(check)


Image = Annotated[
    str,
    _named(
        rf"{NAME}(?:{TAG})?(?:{DIGEST})?",
        "write an image's name, for example docker.io/library/python:3.11-slim",
    ),
]
TaggedImage = Annotated[
    str,
    _named(
        rf"{NAME}(?:{TAG}(?:{DIGEST})?|{DIGEST})",
        "write an image's name with its tag or digest, for example ghcr.io/owner/name:1.0",
    ),
]
Registry = Annotated[
    str,
    _named(
        rf"(?!.*[A-Z]){HOST}(?:/{PATH})?",
        "write HOST/PATH in lower case, for example registry.example.com/models",
    ),
]
