"""Check a GPU with nothing but PyTorch: distill, prune, quantize, benchmark, TensorRT where it is there.

    python scripts/gpu_check.py --json gpu.json

Put the file into `results/gpu_checks/` and every report shows it. Weights are random and results are compared: with what came before the step, with the processor. Exit
status 1 if one is not as it should be.
"""

import argparse
import json
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))  # so that nothing needs to be installed

import torch

from drawplate.gpucheck import speed, steps, tensorrt
from drawplate.gpucheck.model import Sizes

SCHEMA = 1
FULL = Sizes(hidden=2048, mlp=5632, layers=16, heads=32, kv_heads=8, vocabulary=32000)
SMALL = Sizes(hidden=128, mlp=384, layers=4, heads=4, kv_heads=2, vocabulary=512)


def main() -> None:
    """Run every check, write one JSON file, say what did not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, required=True, help="file to write")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu to try the script")
    parser.add_argument("--small", action="store_true", help="sizes for a processor")
    parser.add_argument("--repeats", type=int, default=5, help="of each timing, 5 if not given")
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit(
            f"error: PyTorch {torch.__version__} sees no GPU: install its CUDA build and NVIDIA's "
            "driver, or try the script with --device cpu --small"
        )
    arguments.json.parent.mkdir(parents=True, exist_ok=True)  # now, not when all is measured
    device, sizes = torch.device(arguments.device), SMALL if arguments.small else FULL
    repeats, tokens = arguments.repeats, 64 if arguments.small else 512
    started = time.monotonic()
    checks = {
        "distill": lambda: steps.distill(
            device, sizes, steps=20, batch=2 if arguments.small else 8
        ),
        "prune": lambda: steps.prune(device, sizes),
        "quantize": lambda: steps.quantize(device, sizes),
        "products_flops": lambda: speed.products(device, 256 if arguments.small else 8192, repeats),
        "bandwidth_bytes_per_s": lambda: speed.bandwidth(
            device, 2**24 if arguments.small else 2**30, repeats
        ),
        "decoder": lambda: speed.decoder(device, sizes, tokens, 16, repeats),
        "tensorrt": lambda: tensorrt.check(device),
    }
    results: dict[str, Any] = {}
    for name, check in checks.items():
        print(f"{name} ...", flush=True)
        try:
            results[name] = check()
        except Exception as error:  # one kind of work that fails hides none of the others
            results[name] = {"failed": f"{type(error).__name__}: {error}"}
    failed = [name for name, result in results.items() if not holds(result)]
    record = {
        "schema": SCHEMA,
        "measured_on": machine(device),
        "sizes": vars(sizes),
        "command": " ".join(["python", *sys.argv]),
        "seconds": round(time.monotonic() - started, 1),
        "results": results,
        "failed": failed,
    }
    arguments.json.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{arguments.json}: {len(results) - len(failed)} of {len(results)} as they should be")
    if failed:
        sys.exit(f"error: {', '.join(failed)}")


def holds(result: dict[str, Any]) -> bool:
    """Whether a check came out as it should; timings alone always do."""
    judged = ("improved", "same_choice_as_cpu", "agrees")
    return "failed" not in result and all(result.get(name, True) for name in judged)


def machine(device: torch.device) -> dict[str, Any]:
    """What was measured on."""
    facts: dict[str, Any] = {
        "device": str(device),
        "host": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }
    if device.type == "cuda":
        known = torch.cuda.get_device_properties(device)
        facts |= {
            "gpu": known.name,
            "memory_bytes": known.total_memory,
            "target": f"sm{known.major}{known.minor}",
            "driver": driver(),
        }
    return facts


def driver() -> str | None:
    """The driver's version as its own program says it."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.split("\n")[0].strip() or None


if __name__ == "__main__":
    main()
