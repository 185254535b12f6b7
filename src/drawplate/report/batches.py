"""The batches that an engine was timed on: 1, and the one of `benchmark.batch`."""

import re
from typing import Any


def batches(performance: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """What was measured at each batch, by `batch_<size>`, from small to large."""
    sizes = {
        int(found[1]): name
        for name, values in (performance or {}).items()
        if values and (found := re.fullmatch(r"batch_(\d+)", name))
    }
    return {sizes[size]: (performance or {})[sizes[size]] for size in sorted(sizes)}
