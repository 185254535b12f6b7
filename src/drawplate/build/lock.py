"""Versions of packages as the committed lock pins them."""

import functools
import re
from collections.abc import Iterable
from pathlib import Path

from drawplate.errors import DrawplateError

LOCK = "requirements.lock"
PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;#]+)")


def canonical(name: str) -> str:
    """A package name in the form that compares equal (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@functools.cache
def pins(lock: Path) -> dict[str, str]:
    """Every pinned version by canonical package name."""
    matches = (PIN.match(line) for line in lock.read_text().splitlines())
    return {canonical(m[1]): m[2] for m in matches if m}


def versions(names: Iterable[str], lock: Path, *further: Path) -> dict[str, str]:
    """Locked versions of the given packages, sorted by name.

    Args:
        names: Of packages.
        lock: Where they are pinned.
        further: Locks for what the first does not pin.

    Raises:
        DrawplateError: If no lock pins one of them.
    """
    known = {k: v for path in (*reversed(further), lock) for k, v in pins(path).items()}
    missing = [n for n in names if canonical(n) not in known]
    if missing:
        raise DrawplateError(
            f"{lock.name} does not pin {', '.join(missing)}", "add it to the lock or fix the name"
        )
    return {canonical(n): known[canonical(n)] for n in sorted(names)}
