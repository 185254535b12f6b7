"""Work spread over threads in pieces that do not depend on how many threads there are.

Each worker computes with one PyTorch thread. On few cores that beats PyTorch's own threads, whose
barriers wait for the slowest core in every one of the many small steps of GPTQ; and as every piece
is computed by one thread, results are the same bits whatever the number of workers.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
Result = TypeVar("Result")


class Workers:
    """A pool of threads that maps a function over pieces, in order."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def map(self, work: Callable[[Piece], Result], pieces: Iterable[Piece]) -> list[Result]:
        """`work` of every piece, without recording gradients unless `work` asks for them."""

        def without_gradients(piece: Piece) -> Result:
            with torch.no_grad():
                return work(piece)

        return list(self._pool.map(without_gradients, pieces))


@contextlib.contextmanager
def workers(threads: int) -> Iterator[Workers]:
    """Start a pool; PyTorch's own number of threads is one until the pool is closed."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield Workers(pool)
    finally:
        torch.set_num_threads(before)
