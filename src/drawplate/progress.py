"""Progress of long work as plain lines, readable in a terminal and in a log file alike."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 5.0


def say(text: str) -> None:
    """One line on standard error, at once."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def progress(
    items: Iterable[Item], what: str, total: int | None = None, unit: str = ""
) -> Iterator[Item]:
    """Pass items through; say every few seconds how many are done and how long the rest takes.

    Args:
        items: What is worked on.
        what: The line's beginning, for example `quantize base.int4`.
        total: How many there are; taken from `len(items)` if it has one.
        unit: What is counted, for example `layers`.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    started = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            line = f"{what}: {done}"
            if total:
                line += f"/{total} {unit}, {(now - started) / done * (total - done):.0f} s left"
            else:
                line += f" {unit}, {now - started:.0f} s"
            say(line)
    say(f"{what}: done in {time.monotonic() - started:.1f} s")
