"""A float decoder as an ONNX graph with a key/value cache, by transformers' own exporter.

Names are those that optimum made common: `input_ids`, `attention_mask`, `position_ids` and
`past_key_values.<layer>.key|value` go in, `logits` and `present.<layer>.key|value` come out. Every
node keeps the name of the module it comes from, see `module_of`.
"""

import ast
import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import torch

from drawplate.errors import DrawplateError

# Sizes of the traced example: none is 0 or 1, no two are equal.
BATCH, NEW, PAST = 2, 3, 9
SCOPES = "pkg.torch.onnx.name_scopes"
CHATTER = ("transformers", "torch.onnx", "onnxscript", "onnx_ir")


def export_decoder(checkpoint: Path, folder: Path, dtype: str) -> None:
    """Write `model.onnx` and its external data.

    Args:
        checkpoint: Float checkpoint in Hugging Face format.
        folder: Where the graph goes.
        dtype: `float16`, `bfloat16` or `float32`; of weights, activations and cache.

    Raises:
        DrawplateError: If transformers has no export for the model.
    """
    from transformers import AutoModelForCausalLM
    from transformers.exporters import OnnxConfig, OnnxExporter

    model = AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype=getattr(torch, dtype), trust_remote_code=False, local_files_only=True
    ).eval()
    with torch.no_grad(), _quiet():
        past = model(torch.ones(BATCH, PAST, dtype=torch.int64), use_cache=True).past_key_values
        inputs = {
            "input_ids": torch.ones(BATCH, NEW, dtype=torch.int64),
            "attention_mask": torch.ones(BATCH, PAST + NEW, dtype=torch.int64),
            "position_ids": torch.arange(PAST, PAST + NEW).expand(BATCH, NEW).contiguous(),
            "past_key_values": past,
        }
        free = torch.export.Dim.AUTO
        shapes: dict[str, Any] = {name: {0: free, 1: free} for name in inputs}
        shapes["past_key_values"] = [{0: free, 2: free}] * (2 * model.config.num_hidden_layers)
        try:
            exported = OnnxExporter().export(model, inputs, OnnxConfig(dynamic_shapes=shapes))
        except Exception as error:  # torch.export and torch.onnx have no common type
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise DrawplateError(
                f"{type(model).__name__} cannot be exported to ONNX ({first})",
                "choose another engine, or report it to transformers.exporters",
            ) from error
        exported.save_pretrained(folder)
    graph = onnx.load(folder / "model.onnx", load_external_data=False)
    _rename(graph.graph)
    onnx.save(graph, folder / "model.onnx")


def module_of(node: onnx.NodeProto) -> str | None:
    """Name of the innermost module that a node was traced in, for example `model.layers.0.mlp`."""
    scopes = next((p.value for p in node.metadata_props if p.key == SCOPES), None)
    # The last scope is the operator's own.
    return str(ast.literal_eval(scopes)[-2]) if scopes else None


def cache_names(graph: onnx.GraphProto) -> list[str]:
    """Inputs of the cache in their order: keys of the first layer, its values, and so on."""
    return [value.name for value in graph.input if value.name.startswith("past_key_values.")]


def present_name(past: str) -> str:
    """The output that an input of the cache becomes."""
    return past.replace("past_key_values.", "present.", 1)


def _rename(graph: onnx.GraphProto) -> None:
    """Give inputs, outputs and their free sizes the names that other tools know, in place."""
    names = {}
    for value in [*graph.input, *graph.output]:
        source, _, rest = value.name.partition(".past_key_values.layers.")
        if rest:
            layer, _, kind = rest.partition(".")
            stem = {"input": "past_key_values", "output": "present"}[source]
            names[value.name] = f"{stem}.{layer}.{kind.removesuffix('s')}"
    for node in graph.node:
        for side in (node.input, node.output):
            for index, name in enumerate(side):
                side[index] = names.get(name, name)
    sizes = {"input_ids": ("batch", "sequence"), "attention_mask": ("batch", "total")}
    sizes["position_ids"] = sizes["logits"] = sizes["input_ids"]
    for value in [*graph.input, *graph.output]:
        value.name = names.get(value.name, value.name)
        length = "past" if value.name.startswith("past") else "total"
        dims = value.type.tensor_type.shape.dim
        for dim, size in zip(dims, sizes.get(value.name, ("batch", None, length)), strict=False):
            if size and not dim.HasField("dim_value"):
                dim.dim_param = size
    kept = [value for value in graph.value_info if value.name not in names]
    del graph.value_info[:]
    graph.value_info.extend(kept)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence a hundred lines that say nothing about the model."""
    import warnings

    levels = {name: logging.getLogger(name).level for name in CHATTER}
    chatter = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(chatter):
        warnings.simplefilter("ignore")
        for name in CHATTER:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
