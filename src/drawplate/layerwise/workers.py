"""Work spread over threads in pieces that do not depend on how many threads there are.

Each worker computes with one PyTorch thread. On few cores that beats PyTorch's own threads, whose
barriers wait for the slowest core in every one of the many small steps of GPTQ; and as every piece
is computed by one thread, results are the same bits whatever the number of workers.
"""

import contextlib
import ctypes
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

M_MMAP_THRESHOLD = -3  # of malloc.h
LARGE_BLOCK_BYTES = 2**20
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
    _return_large_blocks()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield Workers(pool)
    finally:
        torch.set_num_threads(before)


def _return_large_blocks() -> None:
    """Let what a layer needed go back to the system when the layer is done.

    The C library raises its threshold for blocks of their own to the largest block that was ever
    freed, up to 32 MiB. Tensors below it then share a heap that a few long-lived small blocks keep
    from shrinking, so that a walk would grow with every layer. A threshold that is set stays.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library: nothing to set
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
