"""Why a node is stale: the values of its key before and now, traced to the first cause."""

import json
from pathlib import Path
from typing import Any

from drawplate.build.keys import differences
from drawplate.build.plan import Node, json_or_none


def recorded_key(node: Node, root: Path) -> dict[str, Any] | None:
    """The key that the folder on disk was made under, None if there is no record or a damaged one."""
    record = json_or_none(root / node.record)
    key = record.get("key") if isinstance(record, dict) else None
    return key if isinstance(key, dict) else None


def causes(node: Node, root: Path) -> list[str]:
    """One line for each value that makes a node stale; empty if it is fresh.

    A stale parent is followed upwards until the value that changed is found, so a line names
    the first cause and not its echo.
    """
    return list(dict.fromkeys(_causes(node, root)))


def _causes(node: Node, root: Path) -> list[str]:
    if node.fresh(root):
        return []
    label = f"{node.stage} {node.name}"
    lines: list[str] = []
    for parent in node.parents.values():
        lines += _causes(parent, root)
    before = recorded_key(node, root)
    if before is None:
        if not (root / node.record).exists():
            return [*lines, f"{label}: not built yet"]
        return [*lines, f"{label}: {node.record} is damaged: delete the folder and build again"]
    for name, old, new in differences(before, node.key):
        role = name.removeprefix("parents.")
        if name.startswith("parents.") and role in node.parents:
            parent = node.parents[role]
            if parent.fresh(root):
                lines.append(f"{label}: made from another {parent.stage} {parent.name} than now")
            continue
        lines.append(f"{label}: {_what(name)} was {_show(old)}, is {_show(new)}")
    return lines or [f"{label}: its parents are the same again, but it was left unfinished"]


def _what(name: str) -> str:
    kind, _, rest = name.partition(".")
    return {"config": rest, "code": f"the code of {rest}", "versions": f"version of {rest}"}.get(
        kind, name
    )


def _show(value: Any) -> str:
    return "absent" if value is None else json.dumps(value, ensure_ascii=False)
