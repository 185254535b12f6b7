"""What a GPU target means to a scheduler."""

from collections.abc import Mapping
from typing import Any

from drawplate.errors import DrawplateError

RESOURCE = "nvidia.com/gpu"
PRODUCT = "nvidia.com/gpu.product"
CPU = "cpu"


def needs_gpu(target: str) -> bool:
    """Whether an engine's target is a GPU."""
    return target != CPU


def node_selector(target: str, products: Mapping[str, str]) -> dict[str, str]:
    """Labels of the nodes that a target runs on; none for processors.

    Args:
        target: Of the engine: `cpu`, `sm80`, ...
        products: By target, the label that NVIDIA's feature discovery gives such nodes.

    Raises:
        DrawplateError: If no product is named for the target.
    """
    if not needs_gpu(target):
        return {}
    if target not in products:
        raise DrawplateError(
            f"deploy.gpu_products names no product for target {target}",
            f"add the nodes' label {PRODUCT}: kubectl get nodes -L {PRODUCT}",
        )
    return {PRODUCT: products[target]}


def limits(target: str) -> dict[str, str]:
    """GPUs of one replica; Kubernetes takes the limit for the request."""
    return {RESOURCE: "1"} if needs_gpu(target) else {}


def tolerations(target: str) -> list[dict[str, Any]]:
    """GPU nodes are often kept free of what needs none."""
    if not needs_gpu(target):
        return []
    return [{"key": RESOURCE, "operator": "Exists", "effect": "NoSchedule"}]
