"""The machine that speeds were measured on, and how fast its memory can be read."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from drawplate.build import hardware
from drawplate.build.gpus import gpus
from drawplate.progress import say

READ_BYTES = 512 * 2**20  # far beyond any last-level cache
PASSES = 9
KERNEL = "read of float32 by BLAS dot"


def machine(threads: int) -> dict[str, Any]:
    """Identity and read bandwidth, in the form that `report.json` has under `machine`."""
    bandwidth = read_bandwidth(threads)
    say(f"memory bandwidth: {bandwidth['median'] / 1e9:.1f} GB/s, {threads} threads")
    return {
        "cpu": hardware.cpu_model(),
        "cores": hardware.cores(),
        "memory_bytes": hardware.memory_bytes(),
        "memory_bandwidth_bytes_per_s": bandwidth["median"],
        "memory_bandwidth": bandwidth,
        "gpu": ", ".join(gpu.name for gpu in gpus()) or None,
    }


def read_bandwidth(
    threads: int, read_bytes: int = READ_BYTES, passes: int = PASSES
) -> dict[str, Any]:
    """Sustained rate at which all threads together read main memory, in bytes a second.

    Decoding reads every weight once for each token and writes next to nothing, so reads are
    what is measured (McCalpin's STREAM, 1995, measures copies and triads, which also write).
    Each thread takes dot products of its own part of one array with itself.

    Args:
        threads: Threads that read at the same time.
        read_bytes: Size of the array.
        passes: Times it is read; the first, which warms up, is not counted.
    """
    # In blocks of 4 MiB each call stays in the thread that made it (checked: numpy 2.4, OpenBLAS).
    blocks = np.ones((max(1, read_bytes // 2**22), 2**20), dtype=np.float32)
    parts = np.array_split(blocks, threads)

    def read(part: np.ndarray) -> None:
        for block in part:
            block.dot(block)

    rates = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(passes + 1):
            started = time.perf_counter()
            list(pool.map(read, parts))
            rates.append(blocks.nbytes / (time.perf_counter() - started))
    return {
        "kernel": KERNEL,
        "threads": threads,
        "array_bytes": blocks.nbytes,
        "median": statistics.median(rates[1:]),
        "min": min(rates[1:]),
        "max": max(rates[1:]),
        "repeats": passes,
    }
