"""What the machine is, as far as a key or a refusal depends on it."""

import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from drawplate.build.gpus import gpus
from drawplate.errors import DrawplateError

PROFILES = ("cpu", "gpu", "slurm")


def cpu_model() -> str:
    """The processor's name as the kernel gives it, else its architecture."""
    return _cpu_entry("model name") or platform.machine()


def cpu_flags() -> frozenset[str]:
    """What the first processor can do, as the kernel names it; empty where no kernel says."""
    return frozenset((_cpu_entry("flags") or _cpu_entry("Features") or "").split())


def _cpu_entry(name: str) -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    found = (line.split(":", 1)[1].strip() for line in lines if line.startswith(name))
    return next(found, None)


def memory_bytes() -> int:
    """Physical memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def usable_memory_bytes(
    groups: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")
) -> int:
    """Memory that this process may use: the physical one, or a control group's limit below it.

    Args:
        groups: The file that names the process's control groups.
        mount: Where their hierarchy is mounted, version 1 or 2.
    """
    limits = [memory_bytes()]
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        lines = []
    for line in ["0::/", "0:memory:/", *lines]:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory") and "memory" not in controllers.split(","):
            continue
        top, name = (mount, "memory.max")
        if controllers:
            top, name = (mount / "memory", "memory.limit_in_bytes")
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):  # a limit above holds too
            if folder == top or top in folder.parents:
                limits.append(_limit(folder / name))
    return min(limits)


def _limit(path: Path) -> int:
    """A control group's limit; as large as can be where there is none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # version 2 writes "max"
        return sys.maxsize


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0))


def computes_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 matrices itself; elsewhere that is emulated."""
    if not (flags := cpu_flags()):
        return platform.machine() == "arm64"
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags)


def identity(profile: str) -> dict[str, Any]:
    """What a speed depends on; enters the key of the machine's measurement and so of every speed.

    Memory is rounded to GiB, since kernels differ in what they keep for themselves. On a
    cluster the node is not known before the job runs: any node counts as the same machine.
    """
    if profile == "slurm":
        return {"cluster": "slurm"}
    return {
        "cpu": cpu_model(),
        "cores": cores(),
        "memory_gib": round(memory_bytes() / 2**30),
        "gpus": [gpu.name for gpu in gpus()] if profile == "gpu" else [],
    }


def require(profile: str) -> None:
    """Refuse a profile whose hardware or programs are not there, before any job.

    Raises:
        DrawplateError: Naming everything that is missing.
    """
    if profile not in PROFILES:
        raise DrawplateError(
            f"unknown hardware {profile!r}", f"choose one of {', '.join(PROFILES)}"
        )
    missing: list[str] = []
    if profile == "gpu":
        if shutil.which("nvidia-smi") is None:
            missing.append("the NVIDIA driver (nvidia-smi is not on the path)")
        elif not gpus():
            missing.append("a GPU that nvidia-smi shows")
        if not _torch_has_cuda():
            missing.append("a CUDA build of PyTorch (see README, 'The CUDA build')")
    if profile == "slurm" and shutil.which("sbatch") is None:
        missing.append("Slurm's client programs (sbatch is not on the path)")
    if missing:
        raise DrawplateError(
            f"profile {profile} cannot run here, missing: {'; '.join(missing)}",
            "install that, or use --profile cpu",
        )


def _torch_has_cuda() -> bool:
    """Whether the installed PyTorch is a CUDA build, told by its metadata (no import)."""
    from importlib import metadata

    try:
        return "+cpu" not in metadata.version("torch")
    except metadata.PackageNotFoundError:
        return False
