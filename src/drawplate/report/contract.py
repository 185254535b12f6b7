"""The forms that other programs rely on, checked before a file is handed out."""

import functools
import json
from importlib import resources
from typing import Any

from drawplate.errors import DrawplateError


def check(name: str, value: dict[str, Any]) -> None:
    """Hold a report or manifest against its schema.

    Args:
        name: `report` or `manifest`.
        value: What is about to be written.

    Raises:
        DrawplateError: Naming the first entry that departs from the schema.
    """
    error = next(_validator(name).iter_errors(value), None)
    if error is not None:
        raise DrawplateError(
            f"{name}.json departs from its schema at {error.json_path}",
            f"a stage wrote something unexpected ({error.message[:200]})",
        )


@functools.cache
def _validator(name: str) -> Any:
    from jsonschema import Draft202012Validator

    text = (resources.files("drawplate.report") / "schema" / f"{name}.schema.json").read_text()
    return Draft202012Validator(json.loads(text))
