"""What a recipe's step declares of its result: one function for each kind of step.

Each works from the step's config and the parent alone and knows nothing of the code that does the
work, so that the two do not share a mistake. A step without a function here, or with options that
its function does not know, declares nothing: its result is audited without comparison.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from drawplate.artifacts.files import read_json
from drawplate.artifacts.formats import is_budgeted
from drawplate.artifacts.loads import sort_tensors
from drawplate.artifacts.pruned import Sizes, layer_of, pruned_shape, pruned_sizes
from drawplate.artifacts.stored import Form, Stored

HEAD, HEAD_WEIGHT = "lm_head", "lm_head.weight"
SCALE_BITS, ZERO_POINT_BITS, SHAPE_BITS = 16, 8, 128
INTEGER_METHODS = ("gptq", "rtn", "hqq")
"""Methods that only round linear weights to integers, and leave all others as they are."""
PRUNE_OPTIONS = (
    *("mlp_share", "kv_group_share", "hidden_share", "layers", "keep_layers", "multiple_of"),
    *("target_parameters", "target_decode_speedup"),
)
PRUNE_IRRELEVANT = (
    *("kind", "score", "refit", "damping", "windows", "window_tokens"),
    *("direction", "bandwidth_gb_per_s", "layer_overhead_ms"),  # of budgets
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """What one weight has to be.

    Attributes:
        shape: Of the weight itself.
        dtypes: Accepted dtypes, `float32` or `int4`.
        group_sizes: Accepted ones of a packed weight; none for a plain one.
        symmetric: Whether a packed weight must have no zero points; without them is always allowed,
            since a grid may turn out to be symmetric.
        values: `same` as its parent's in every bit, `alike` (of the same direction), or `any`.
        source: Name of the parent's weight it is compared with, if not its own.
        optional: Whether it may be left out (a head that is tied to the embedding).
    """

    shape: tuple[int, ...]
    dtypes: frozenset[str]
    group_sizes: frozenset[int] = frozenset()
    symmetric: bool = True
    values: Literal["same", "alike", "any"] = "any"
    source: str | None = None
    optional: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Declaration:
    """What a step's result has to be.

    Attributes:
        weights: Every weight by name; no other may be stored.
        config: Entries that config.json must have.
        weights_dtypes: What the label may call the weights.
        bits_per_weight: What the label may say at most.
    """

    weights: Mapping[str, Wanted]
    config: Mapping[str, Any]
    weights_dtypes: frozenset[str] | None = None
    bits_per_weight: float | None = None


def declared(kind: str, config: dict[str, Any], parent: Path) -> Declaration | None:
    """What a step says that its result is.

    Args:
        kind: Of the step: `prune`, `quantize`.
        config: Its settings as a job has them.
        parent: The checkpoint it changes.

    Returns:
        None if it says nothing that can be compared.
    """
    declare = DECLARATIONS.get(kind)
    if declare is None:
        return None
    with Stored(parent) as stored:
        return declare(config, parent, stored)


def _trained(config: dict[str, Any], parent: Path, stored: Stored) -> Declaration | None:
    """Distill and recover: other values than the parent's, or a student's of its own, nothing else."""
    tied = _tied(parent)
    weights = {
        name: Wanted(
            shape=form.shape,
            dtypes=frozenset({form.dtype}),
            values="alike" if len(form.shape) == 2 else "any",
            optional=tied and name == HEAD_WEIGHT,
        )
        for name, form in stored.forms().items()
    }
    return Declaration(weights=weights, config=read_json(parent / "config.json"))


def _pruned(config: dict[str, Any], parent: Path, stored: Stored) -> Declaration | None:
    """Prune: fewer layers and channels of any kind; what was not cut stays as it was."""
    known = (*PRUNE_OPTIONS, *PRUNE_IRRELEVANT)
    if any(value for name, value in config.items() if name not in known):
        return None
    before, forms = read_json(parent / "config.json"), stored.forms()
    is_encoder = not before["architectures"][0].endswith("ForCausalLM")
    sizes = pruned_sizes(config, before, forms)
    kept = config.get("keep_layers")
    # Which layers stay is known if they were named, or if all do.
    all_stay = sizes.layers == before["num_hidden_layers"]
    named = kept if isinstance(kept, list) else list(range(sizes.layers)) if all_stay else None
    weights = {}
    for name, form in forms.items():
        index = layer_of(name)
        if index is not None and index >= sizes.layers:
            continue
        shape = pruned_shape(name, form.shape, sizes, before)
        refitted = index is not None and _refitted(name, config, is_encoder, sizes, before)
        untouched = shape == form.shape and not refitted
        if index is not None and named is None:
            untouched = False
        weights[name] = Wanted(
            shape=shape,
            dtypes=frozenset({form.dtype}),
            values="same" if untouched else "any",
            source=_renumbered(name, named) if untouched and index is not None and named else None,
        )
    entries = {
        "num_hidden_layers": sizes.layers,
        "intermediate_size": sizes.channels,
        "hidden_size": sizes.hidden,
        "vocab_size": before["vocab_size"],
    }
    if not is_encoder:
        heads = before["num_attention_heads"]
        groups = before.get("num_key_value_heads") or heads
        entries["num_key_value_heads"] = sizes.groups
        entries["num_attention_heads"] = heads // groups * sizes.groups
    return Declaration(weights=weights, config=entries)


def _refitted(
    name: str,
    config: dict[str, Any],
    is_encoder: bool,
    sizes: Sizes,
    before: Mapping[str, Any],
) -> bool:
    """Whether a weight of a layer may be fitted though its shape stays."""
    if is_encoder:  # the bias of what reads the channels makes up for those that went
        return sizes.channels < before["intermediate_size"] and name.endswith("output.dense.bias")
    return bool(config.get("refit") == "dense")


def _renumbered(name: str, kept: list[int]) -> str:
    """The parent's name of a weight of a layer that has another number since."""
    parts = name.split(".")
    place = next(i for i, part in enumerate(parts) if part.isdigit())
    return ".".join([*parts[:place], str(kept[int(parts[place])]), *parts[place + 1 :]])


def _quantized(config: dict[str, Any], parent: Path, stored: Stored) -> Declaration | None:
    """Quantize to integers in groups: linear layers packed, embeddings in float16, the rest kept."""
    if config["method"] not in INTEGER_METHODS or config.get("activations", "none") != "none":
        return None
    linear, embeddings, table = _linear_and_embeddings(parent, stored)
    forms_allowed = _forms(config, config["bits"])
    forms = stored.forms()
    weights: dict[str, Wanted] = {}
    for name, form in forms.items():
        module = name.removesuffix(".weight")
        if name == HEAD_WEIGHT:
            continue
        if module in linear and name != module:
            weights[name] = _packed(form, forms_allowed, config)
        elif module in embeddings:
            weights[name] = Wanted(shape=form.shape, dtypes=frozenset({"float16"}), values="alike")
        else:
            weights[name] = Wanted(shape=form.shape, dtypes=frozenset({form.dtype}), values="same")
    if HEAD in linear:
        source = HEAD_WEIGHT if HEAD_WEIGHT in forms else f"{table}.weight"
        weights[HEAD_WEIGHT] = _head(forms[source], source, config)
    return Declaration(
        weights=weights,
        config={"architectures": read_json(parent / "config.json")["architectures"]},
        weights_dtypes=_label_dtypes(weights),
        bits_per_weight=_most_bits_per_weight(weights, config),
    )


def _rotated(config: dict[str, Any], parent: Path, stored: Stored) -> Declaration | None:
    """Rotate: the same shapes in another basis, the head apart from the embedding."""
    forms = stored.forms()
    weights = {
        name: Wanted(shape=form.shape, dtypes=frozenset({form.dtype}))
        for name, form in forms.items()
    }
    table = next(form for name, form in forms.items() if "embed" in name)
    weights.setdefault(HEAD_WEIGHT, Wanted(shape=table.shape, dtypes=frozenset({table.dtype})))
    return Declaration(
        weights=weights,
        config={**read_json(parent / "config.json"), "tie_word_embeddings": False},
    )


DECLARATIONS: dict[str, Callable[[dict[str, Any], Path, Stored], Declaration | None]] = {
    "distill": _trained,
    "recover": _trained,
    "prune": _pruned,
    "rotate": _rotated,
    "quantize": _quantized,
}


def _forms(config: dict[str, Any], bits: int) -> set[tuple[int, int]]:
    """Bits and group sizes that a weight may have: the step's, or the candidates of its budget."""
    if not is_budgeted(config):
        return {(bits, config["group_size"])}
    pairs = (form.split("/") for form in config["candidates"])
    return {(int(b), int(g)) for b, g in pairs}


def _packed(form: Form, forms: set[tuple[int, int]], config: dict[str, Any], **more: Any) -> Wanted:
    return Wanted(
        shape=form.shape,
        dtypes=frozenset(f"int{b}" for b, _ in forms),
        group_sizes=frozenset(g for _, g in forms),
        symmetric=config["symmetric"],
        values="alike",
        **more,
    )


def _head(form: Form, source: str, config: dict[str, Any]) -> Wanted:
    """The output head, which has bits of its own and is untied from the embedding."""
    if config["head_bits"] == 16 and not is_budgeted(config):
        return Wanted(
            shape=form.shape, dtypes=frozenset({"float16"}), values="alike", source=source
        )
    return _packed(form, _forms(config, config["head_bits"]), config, source=source)


def _label_dtypes(weights: Mapping[str, Wanted]) -> frozenset[str]:
    """What a label may call weights of these dtypes."""
    integers = {d for w in weights.values() if w.group_sizes for d in w.dtypes}
    return frozenset(integers | ({"mixed int4/int8"} if len(integers) > 1 else set()))


def _most_bits_per_weight(weights: Mapping[str, Wanted], config: dict[str, Any]) -> float:
    """All stored bits at most, scales and zero points included, for each parameter."""
    parameters = float(sum(math.prod(wanted.shape) for wanted in weights.values()))
    if config.get("budget_megabytes"):
        return float(8e6 * config["budget_megabytes"] / parameters)
    total = 0.0
    for wanted in weights.values():
        count = math.prod(wanted.shape)
        if not wanted.group_sizes:
            total += count * _width(max(wanted.dtypes, key=_width))
            continue
        shared = SCALE_BITS + (0 if wanted.symmetric else ZERO_POINT_BITS)
        stated = max(map(_width, wanted.dtypes)) + shared / min(wanted.group_sizes)
        total += count * (config.get("bits_per_weight") or stated) + SHAPE_BITS
    return total / parameters


def _width(dtype: str) -> int:
    return int("".join(c for c in dtype.split("_")[0] if c.isdigit()) or 8)


def _linear_and_embeddings(parent: Path, stored: Stored) -> tuple[set[str], set[str], str]:
    """Names of the parent's linear layers that are read, of its embeddings, and of that of tokens."""
    from torch import nn

    model, _ = sort_tensors(parent, stored.shapes(), str(parent))
    named = dict(model.named_modules())
    # Sentence vectors are means of hidden states: an encoder's pooler is not read.
    linear = {n for n, m in named.items() if isinstance(m, nn.Linear) and "pooler." not in n}
    tokens = model.get_input_embeddings()
    table = next(n for n, m in named.items() if m is tokens)
    return linear, {n for n, m in named.items() if isinstance(m, nn.Embedding)}, table


def _tied(folder: Path) -> bool:
    return bool(read_json(folder / "config.json").get("tie_word_embeddings", False))
