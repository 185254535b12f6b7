"""The label of a pair: what both models' files hold, added up."""

import collections
from typing import Any


def pair_label(target: dict[str, Any], draft: dict[str, Any]) -> dict[str, Any]:
    """The manifest's `format` entry of target and draft together.

    Args:
        target: The target's own, see `drawplate.engines.label.label`.
        draft: The draft's own.

    Returns:
        The entries of the contract: `tensors` and `bits_per_weight` of both, the others those of
        the target, whose answers it are. `target` and `draft` hold both labels. What decoding one
        token reads depends on how many proposals are accepted, so it is not said here: the
        benchmark measures it.
    """
    tensors = collections.Counter(target["tensors"]) + collections.Counter(draft["tensors"])
    weights = [
        8 * sum(part["tensors"].values()) / part["bits_per_weight"] for part in (target, draft)
    ]
    return {
        "weights_dtype": f"{target['weights_dtype']}, draft {draft['weights_dtype']}",
        "bits_per_weight": round(8 * tensors.total() / sum(weights), 4),
        "group_size": target["group_size"],
        "quantization_method": target["quantization_method"],
        "tensors": dict(sorted(tensors.items())),
        "target": target,
        "draft": draft,
    }
