"""What needs a GPU: marked so, and skipped where there is none."""

import pytest
import torch
from tests.tiny_engines import checkpoint, compiled, copied, reference

__all__ = ["checkpoint", "compiled", "copied", "reference"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    for item in items:
        if "tests/gpu/" in item.nodeid:
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="this machine has no GPU"))
