"""Energy of the machine while an image is under load, where its counters can be read."""

import threading
import time
from pathlib import Path
from types import TracebackType

from drawplate.benchmark.energy import POWERCAP, joules_between, read_packages

EVERY_S = 0.5
SOURCE = "RAPL, processor packages of the whole machine"


class Meter:
    """Looks at the counters twice a second while it is open.

    A load generator begins and ends before and after the seconds that count: what was used in those
    alone can be told afterwards.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self._root, self._ended = root, threading.Event()
        self._seen: list[tuple[float, dict[str, int]]] = []
        self._thread = threading.Thread(target=self._look, name="energy", daemon=True)

    def __enter__(self) -> "Meter":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while (counters := read_packages(self._root)) is not None:
            self._seen.append((time.time(), counters))
            if self._ended.wait(EVERY_S):
                return

    def watts(self, start: float, end: float) -> float | None:
        """Mean power between two moments in seconds since 1970; None if it could not be read."""
        inside = [seen for seen in self._seen if start <= seen[0] <= end]
        if len(inside) < 2:
            return None
        (first_s, first), (last_s, last) = inside[0], inside[-1]
        joules = joules_between(first, last, self._root)
        return None if joules is None else joules / (last_s - first_s)
