"""What a quantize step stores, and whether an engine can hold it."""

from typing import Any

from drawplate.artifacts.formats import STORED_BY, is_budgeted
from drawplate.config.library_steps import by_library
from drawplate.config.sections import EngineSettings
from drawplate.errors import DrawplateError


def check_format(
    engines: dict[str, EngineSettings],
    task: str,
    recipe: str,
    engine: str,
    label: str,
    step: dict[str, Any],
) -> None:
    """Refuse a quantize step whose weights the engine cannot hold.

    Raises:
        DrawplateError: Naming what it holds, or engines that hold the format.
    """
    if step["kind"] != "quantize":
        return
    holds, form = engines[engine].holds, step_format(step)
    if form not in holds.forms(task):
        able = [name for name, other in engines.items() if form in other.holds.forms(task)]
        raise DrawplateError(
            f"engine {engine} cannot hold recipe {recipe}: step {label} stores {form} weights",
            f"choose an engine that can: {', '.join(able) or 'transformers'}",
        )
    if form != "pack-quantized":
        return
    widths, groups = set(step_bit_widths(step)), step_group_sizes(step)
    if not widths <= set(holds.bit_widths):
        raise DrawplateError(
            f"engine {engine} cannot hold recipe {recipe}: step {label} makes "
            f"{'/'.join(f'int{b}' for b in sorted(widths))} weights",
            f"it holds {', '.join(f'int{b}' for b in holds.bit_widths) or 'float only'}",
        )
    uneven = sorted(widths & set(holds.symmetric_bits))
    if uneven and not step["symmetric"]:
        raise DrawplateError(
            f"engine {engine} cannot hold recipe {recipe}: step {label} makes int{uneven[0]} "
            "weights with zero points",
            "write symmetric: true",
        )
    if holds.symmetric and not step["symmetric"]:
        raise DrawplateError(
            f"engine {engine} cannot hold recipe {recipe}: step {label} has zero points",
            "write symmetric: true",
        )
    if holds.float_head and step.get("head_bits", 16) != 16:
        raise DrawplateError(
            f"engine {engine} cannot hold recipe {recipe}: step {label} quantizes the head",
            "write head_bits: 16",
        )
    odd = sorted(set(groups) - set(holds.group_sizes))
    if holds.group_sizes and odd:
        raise DrawplateError(
            f"engine {engine} cannot hold recipe {recipe}: step {label} has groups of {odd[0]}",
            f"it holds groups of {', '.join(map(str, holds.group_sizes))}",
        )


def step_bit_widths(step: dict[str, Any]) -> list[int]:
    """Bit widths of the packed integers that a quantize step makes."""
    if by_library(step):
        return [4]
    if is_budgeted(step):
        return sorted({int(form.split("/")[0]) for form in step["candidates"]})
    return sorted({step["bits"], step["head_bits"]} - {16})


def step_group_sizes(step: dict[str, Any]) -> list[int]:
    """Group sizes of the weights that a quantize step makes; none where a channel has one scale."""
    if is_budgeted(step):
        return sorted({int(form.split("/")[1]) for form in step["candidates"]})
    return [step["group_size"]] if step["group_size"] else []


def step_format(step: dict[str, Any]) -> str:
    """The name that engines' `holds.formats` have for what a quantize step makes."""
    rounded = step.get("activations", "none")
    return STORED_BY[step["method"]] if rounded == "none" else f"int-quantized/{rounded}"
