"""A stand-in for the NVIDIA driver's program, where no GPU can be had."""

import os
from pathlib import Path

RTX_4090 = "NVIDIA GeForce RTX 4090, 24564, 8.9, 580.95"
A100 = "NVIDIA A100-SXM4-80GB, 81920, 8.0, 580.95"


def path_with(folder: Path, *gpus: str, status: int = 0) -> str:
    """Put an `nvidia-smi` that lists these GPUs into a folder; a PATH that finds it first."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index, gpu in enumerate(gpus):
        name, rest = gpu.split(", ", 1)
        rows.append(f"{index}, GPU-{index:04d}, {name}, {rest}")
    program = folder / "nvidia-smi"
    lines = "\n".join(f"echo '{row}'" for row in rows)
    program.write_text(f"#!/bin/sh\n{lines}\nexit {status}\n")
    program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"
