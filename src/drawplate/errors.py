"""The one exception type a user may see: what is wrong, and what to do about it."""

import contextlib
import os
import sys
from collections.abc import Iterator

INTERRUPTED = 130  # as a shell reports a program that SIGINT ended


class DrawplateError(Exception):
    """An expected failure, told in one line.

    Args:
        what: What is wrong, naming the value, file or place.
        remedy: What the user can do about it.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what = " ".join(what.split())
        self.remedy = " ".join(remedy.split())
        super().__init__(f"{self.what}: {self.remedy}" if self.remedy else self.what)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an expected failure, or Ctrl-C, into one line on standard error and an exit status.

    `DRAWPLATE_TRACEBACK=1` shows the full trace instead. Failures we did not foresee keep
    their traceback: they are bugs, and the trace is what a report of one needs.
    """
    try:
        yield
    except DrawplateError as error:
        if os.environ.get("DRAWPLATE_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("interrupted: run the same again to go on", file=sys.stderr)  # noqa: T201
        raise SystemExit(INTERRUPTED) from None
