"""A float checkpoint as a stateful OpenVINO graph.

The graph comes from a TorchScript trace. The exporter of transformers gives the same operators but
traces with symbolic shapes, three times as long for a model of 30 layers. The key/value cache
becomes variables with a `beam_idx` reorder behind each, the form that the CPU plugin's attention
fuses.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch
import transformers
from openvino import opset13 as ops
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from drawplate.engines.task import architecture

# Sizes of the traced example: none is 0 or 1, no two are equal.
BATCH, NEW, PAST = 2, 3, 9


class CausalLmStep(torch.nn.Module):
    """One step of a decoder over plain tensors, as a trace wants it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, *past: Tensor
    ) -> tuple[Tensor, ...]:
        """Logits [batch, new, vocabulary], then keys and values of every layer.

        Args:
            input_ids: New tokens [batch, new].
            attention_mask: 1 for tokens, past and new [batch, past + new].
            position_ids: Positions of the new tokens [batch, new].
            past: Key, value of the first layer, of the second, ...
                [batch, heads, past, head_dim].
        """
        cache = DynamicCache()
        for keys, values in zip(past[::2], past[1::2], strict=True):
            layer = DynamicLayer()
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys, values
            cache.layers.append(layer)
        positions = torch.arange(attention_mask.shape[1])
        causal = positions[None, :] <= positions[-input_ids.shape[1] :, None]
        out = self._model(
            input_ids=input_ids,
            attention_mask=_additive(causal[None, None] & attention_mask[:, None, None, :].bool()),
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
        )
        present = [t for layer in out.past_key_values.layers for t in (layer.keys, layer.values)]
        return (out.logits, *present)


class EncoderStep(torch.nn.Module):
    """An encoder over plain tensors."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Last hidden states [batch, sequence, hidden]."""
        mask = _additive(attention_mask[:, None, None, :].bool())
        states: Tensor = self._model(input_ids=input_ids, attention_mask=mask).last_hidden_state
        return states


def export_decoder(checkpoint: Path) -> ov.Model:
    """The stateful graph of a causal language model with all logits.

    Inputs are `input_ids`, `attention_mask`, `position_ids` and `beam_idx`, the output is `logits`.
    """
    model = _load(checkpoint)
    config = model.config
    layers, heads = config.num_hidden_layers, config.num_key_value_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    past = [torch.zeros(BATCH, heads, PAST, head_dim)] * (2 * layers)
    tokens = torch.ones(BATCH, NEW, dtype=torch.int64)
    mask = torch.ones(BATCH, PAST + NEW, dtype=torch.int64)
    names = ["input_ids", "attention_mask", "position_ids"]
    states = [f"{kind}.{layer}" for layer in range(layers) for kind in ("key", "value")]
    graph = _trace(CausalLmStep(model), (tokens, mask, tokens, *[p.clone() for p in past]))
    shapes = [[-1, -1]] * 3 + [[-1, heads, -1, head_dim]] * (2 * layers)
    _name(graph, names + states, shapes, ["logits", *[f"present.{state}" for state in states]])
    _make_stateful(graph, states, (heads, head_dim))
    return graph


def export_encoder(checkpoint: Path) -> ov.Model:
    """The graph of a sentence encoder: `input_ids`, `attention_mask` to `last_hidden_state`."""
    tokens = torch.ones(BATCH, NEW, dtype=torch.int64)
    graph = _trace(EncoderStep(_load(checkpoint)), (tokens, tokens.clone()))
    names = ["input_ids", "attention_mask"]
    _name(graph, names, [[-1, -1]] * 2, ["last_hidden_state"])
    return graph


def _additive(mask: Tensor) -> Tensor:
    """A boolean mask as what is added to attention scores.

    The CPU plugin's attention takes either, but a boolean one slowly: a prompt of 512 tokens took
    1.43 s and 0.71 s (135 million parameters, 2 threads, OpenVINO 2026.4.1).
    """
    return torch.where(mask, torch.tensor(0.0), torch.tensor(torch.finfo(torch.float32).min))


def _load(checkpoint: Path) -> Any:
    kind = getattr(transformers, architecture(checkpoint))
    model = kind.from_pretrained(
        checkpoint, dtype=torch.float32, trust_remote_code=False, local_files_only=True
    )
    return model.eval().requires_grad_(False)


def _trace(step: torch.nn.Module, example: tuple[Tensor, ...]) -> ov.Model:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # a trace warns of every shape it looks at
        return ov.convert_model(step, example_input=example)


def _name(graph: ov.Model, inputs: list[str], shapes: list[list[int]], outputs: list[str]) -> None:
    """Give the ports names and the inputs shapes (-1 is free), in place."""
    for port, name in zip(graph.inputs + graph.outputs, inputs + outputs, strict=True):
        port.get_tensor().set_names({name})
    partial = [ov.PartialShape(shape) for shape in shapes]
    graph.reshape(dict(zip(graph.inputs, partial, strict=True)))


def _make_stateful(graph: ov.Model, states: list[str], shape: tuple[int, int]) -> None:
    """Turn inputs `key.0` and outputs `present.key.0`, ... into variables, in place.

    Args:
        graph: Graph with the cache as inputs and outputs.
        states: Their names, without `present.`.
        shape: Heads and head dimension of the cache.
    """
    heads, head_dim = shape
    beam_idx = ops.parameter(ov.PartialShape([-1]), ov.Type.i32, name="beam_idx")
    beam_idx.output(0).get_tensor().set_names({"beam_idx"})
    zero, axis = ops.constant(np.float32(0)), ops.constant(np.int64(0))
    batch = ops.gather(ops.shape_of(graph.input("input_ids")), ops.constant(np.array([0])), axis)
    rest = ops.constant(np.array([heads, 0, head_dim], dtype=np.int64))
    empty = ops.broadcast(zero, ops.concat([batch, rest], 0))
    assigns, results, parameters = [], [], []
    for name in states:
        info = ov.op.util.VariableInfo()
        info.data_shape = ov.PartialShape([-1, heads, -1, head_dim])
        info.data_type = ov.Type.f32
        info.variable_id = name
        variable = ov.op.util.Variable(info)
        past, present = graph.input(name), graph.output(f"present.{name}")
        value = ops.gather(ops.read_value(empty, variable), beam_idx, axis)
        parameters.append(past.get_node())
        past.replace(value.output(0))
        results.append(present.get_node())
        update = present.get_node().input_value(0).get_node()
        assigns.append(ops.assign(update, variable))
    graph.add_parameters([beam_idx])
    graph.add_sinks(assigns)
    for result in results:
        graph.remove_result(result)
    for parameter in parameters:
        graph.remove_parameter(parameter)
    graph.validate_nodes_and_infer_types()
