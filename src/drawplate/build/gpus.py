"""The NVIDIA GPUs of this machine: what they are, and a lease on one of them for each job.

They are asked for through the driver's own program, so that planning needs no CUDA.
"""

import contextlib
import csv
import dataclasses
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from drawplate.errors import DrawplateError
from drawplate.progress import say

PORTABLE = {"sm80", "sm86", "sm89", "sm120"}
"""What an engine runs on that TensorRT for RTX builds for no GPU in particular (its documentation,
CPU-Only AOT Engines)."""
ENTRIES = ("index", "uuid", "name", "memory.total", "compute_cap", "driver_version")
VISIBLE = "CUDA_VISIBLE_DEVICES"
WAIT_S = 0.5


@dataclasses.dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        index: Among all of the machine.
        uuid: As the driver has it.
        name: For example `NVIDIA GeForce RTX 4090`.
        memory_bytes: All of its memory.
        target: Its compute capability as a target, for example `sm89`.
        driver: The driver's version.
    """

    index: int
    uuid: str
    name: str
    memory_bytes: int
    target: str
    driver: str


def gpus() -> list[Gpu]:
    """Every GPU that the driver shows and `CUDA_VISIBLE_DEVICES` leaves; none without a driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    listing = subprocess.run(
        ["nvidia-smi", f"--query-gpu={','.join(ENTRIES)}", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        return []
    rows = csv.reader(listing.stdout.splitlines(), skipinitialspace=True)
    found = [
        Gpu(
            index=int(index),
            uuid=uuid,
            name=name,
            memory_bytes=_memory_bytes(mebibytes),
            target=f"sm{capability.replace('.', '')}",
            driver=driver,
        )
        for index, uuid, name, mebibytes, capability, driver in rows
    ]
    left = os.environ.get(VISIBLE)
    if left is None:
        return found
    wanted = [word.strip() for word in left.split(",") if word.strip()]
    return [g for g in found if str(g.index) in wanted or g.uuid in wanted]


def _memory_bytes(mebibytes: str) -> int:
    """All memory of a GPU; the machine's, where it has none of its own, as in GB10 (`[N/A]`)."""
    if mebibytes.isdecimal():
        return int(mebibytes) * 2**20
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def targets(profile: str) -> list[str]:
    """Targets that this machine's GPUs are; none where a profile does not use them.

    `portable` is among them if one of them is of a kind that such engines are for. What GPUs a
    cluster's node has is not known before a job runs: none count.
    """
    if profile != "gpu":
        return []
    found = sorted({gpu.target for gpu in gpus()})
    return found + ["portable"] * (not PORTABLE.isdisjoint(found))


@contextlib.contextmanager
def leased(target: str | None = None, folder: Path | None = None) -> Iterator[Gpu]:
    """One GPU for this process and its children alone, through `CUDA_VISIBLE_DEVICES`.

    To be taken before CUDA starts. The kernel frees the lease of a process that dies, however it
    dies; leases hold between builds, and between users.

    Args:
        target: Of what kind it must be, for example `sm89`; any if None or `portable`.
        folder: Where the lock files stand; the system's temporary folder, shared by all users.

    Raises:
        DrawplateError: If there is no such GPU.
    """
    able = [gpu for gpu in gpus() if target in (None, "portable", gpu.target)]
    if not able:
        raise DrawplateError(
            f"this job needs a GPU{f' of kind {target}' if target else ''}, here is none",
            "run it on a machine that has one, or leave the variant out",
        )
    before, told = os.environ.get(VISIBLE), False
    while True:
        for gpu in able:
            descriptor = _open(folder or Path(tempfile.gettempdir()), gpu)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            os.environ[VISIBLE] = gpu.uuid
            try:
                yield gpu
            finally:
                os.close(descriptor)
                os.environ.pop(VISIBLE)
                os.environ.update({VISIBLE: before} if before is not None else {})
            return
        if not told:
            say("every GPU is leased, waiting for one")
            told = True
        time.sleep(WAIT_S)


def _open(folder: Path, gpu: Gpu) -> int:
    path = folder / f"drawplate-{gpu.uuid}.lock"
    mask = os.umask(0)  # a strict one would keep every other user out
    try:
        return os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)
    except PermissionError:  # another user's file in a sticky folder cannot be opened to create
        return os.open(path, os.O_RDONLY)
    finally:
        os.umask(mask)
