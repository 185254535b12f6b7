"""The two libraries, imported when chosen, and what they say in words."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from drawplate.errors import DrawplateError

LIBRARIES = {
    "tensorrt_rtx": "run make tensorrt",
    "tensorrt": "install NVIDIA's tensorrt wheel beside the lock, or choose library: tensorrt_rtx",
}
FATAL = ("VERSION_MISMATCH", "MALFORMED_ENGINE")
"""What is wrong with an engine wherever it is looked at; other complaints are of the machine."""


def import_library(name: str) -> Any:
    """One of `LIBRARIES`.

    Raises:
        DrawplateError: If there is none of that name, or it is not installed.
    """
    if name not in LIBRARIES:
        raise DrawplateError(
            f"there is no TensorRT library {name!r}", f"choose from {', '.join(LIBRARIES)}"
        )
    try:
        module: ModuleType = importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise DrawplateError(f"{name} cannot be imported here ({error})", LIBRARIES[name]) from None
    return module


def listener(trt: Any) -> Any:
    """A logger that keeps warnings and errors, the first error first, as `errors`."""

    class Listener(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            # Without a GPU each call complains of the driver as well, which is expected.
            if severity <= trt.ILogger.ERROR and "cudaError" not in message:
                self.errors.append(" ".join(message.split()))

    return Listener()


def validity(trt: Any, plan: Path) -> dict[str, Any]:
    """Whether the library takes a file for an engine of its own version.

    Args:
        trt: The library.
        plan: The engine's file.

    Returns:
        `valid_header`, and `complaints` in the library's words: those of a machine without the GPU.

    Raises:
        DrawplateError: If the file is damaged or of another version.
    """
    runtime = trt.Runtime(listener(trt))
    with plan.open("rb") as file:
        _, diagnostics = runtime.get_engine_validity(file.read())
    found = [
        name
        for name, flag in trt.EngineInvalidityDiagnostics.__members__.items()
        if int(diagnostics) & int(flag.value)
    ]
    if fatal := [name for name in FATAL if name in found]:
        raise DrawplateError(
            f"{plan} is no engine that this TensorRT takes ({', '.join(fatal)})",
            "compile the engine again",
        )
    return {"valid_header": True, "complaints": found}
