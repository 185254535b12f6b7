"""Energy and memory of one GPU as NVML counts them (NVIDIA Management Library, nvidia-ml-py)."""

import os
from typing import Any

from drawplate.errors import DrawplateError

MILLIJOULES = 1e-3


class Meter:
    """Counters of a GPU.

    Energy is that of the whole GPU since its driver was loaded (GPUs from Volta on); memory is what
    this process holds on it.
    """

    def __init__(self, uuid: str) -> None:
        """Connect to the driver.

        Args:
            uuid: The GPU's, with or without `GPU-` in front.

        Raises:
            DrawplateError: If nvidia-ml-py is missing, or the driver does not know the GPU.
        """
        try:
            import pynvml
        except ImportError:
            raise DrawplateError(
                "energy and memory of a GPU need nvidia-ml-py", "run make tensorrt"
            ) from None
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}")
        except pynvml.NVMLError as error:
            raise DrawplateError(
                f"NVML knows no GPU {uuid} ({error})", "look at nvidia-smi -L"
            ) from None

    def joules(self) -> float | None:
        """Energy so far; None for a GPU that has no counter."""
        try:
            counted: int = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        except self._nvml.NVMLError:
            return None
        return counted * MILLIJOULES

    def used_bytes(self) -> int | None:
        """Memory that this process holds now; None where the driver does not tell, as in containers."""
        try:
            rows = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        except self._nvml.NVMLError:
            return None
        own = [row.usedGpuMemory for row in rows if row.pid == os.getpid()]
        return sum(own) if own and None not in own else None
