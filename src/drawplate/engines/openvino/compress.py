"""Put a checkpoint's integers into an OpenVINO graph.

A float constant becomes the decompression subgraph that NNCF writes too (Constant, Convert,
Subtract, Multiply, Reshape, Convert), which the CPU plugin keeps compressed in memory.
"""

import math
from collections.abc import Iterator

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from drawplate.checkpoint.tensors import QuantizedTensor
from drawplate.engines.label import Stored
from drawplate.engines.placement import Placement, pack_nibbles, same

BITS = {"u4": 4, "i4": 4, "u8": 8, "i8": 8}
FLOATS = {"f16": 16, "f32": 32}


def compress(graph: ov.Model, placement: Placement, table_dtype: str) -> None:
    """Replace the float constants of quantized modules by their integers, in place.

    Args:
        graph: Graph of the dequantized checkpoint.
        placement: The checkpoint's quantized modules.
        table_dtype: `float16` or `float32`, for embedding tables that are not quantized.

    Raises:
        DrawplateError: If a quantized module is not in the graph, or only partly.
    """
    done: list[tuple[QuantizedTensor, ov.Output]] = []
    for node in graph.get_ordered_ops():
        is_weight = node.get_type_name() == "Constant" and len(node.get_output_shape(0)) == 2
        if not is_weight or node.get_element_type() != ov.Type.f32:
            continue
        rows = node.get_data()
        tensor = placement.find(rows)
        if tensor is not None:
            weights = [weight for other, weight in done if same(other, tensor)]
            weights = weights or [_decompression(tensor, node.get_friendly_name())]
            done.append((tensor, weights[0]))
            node.output(0).replace(weights[0])
        elif table_dtype == "float16" and not _read_per_token(node):
            half = ops.convert(ops.constant(rows.astype(np.float16)), ov.Type.f32)
            node.output(0).replace(half.output(0))
    placement.check_complete()
    graph.validate_nodes_and_infer_types()


def stored_tensors(graph: ov.Model) -> Iterator[Stored]:
    """Every learned constant of a finished graph."""
    for node in graph.get_ordered_ops():
        if node.get_type_name() != "Constant":
            continue
        shape, dtype = node.get_output_shape(0), node.get_element_type().get_type_name()
        elements, per_group = math.prod(shape), len(shape) == 3 and shape[2] == 1
        read = _read_per_token(node)
        if dtype in BITS and len(shape) == 3 and not per_group:
            size = elements * BITS[dtype] // 8
            yield Stored(f"int{BITS[dtype]}", size, elements, shape[2], read)
        elif dtype in BITS:
            yield Stored("uint8", elements * BITS[dtype] // 8, 0, None, read)
        elif dtype in FLOATS and elements > 1:
            size = elements * FLOATS[dtype] // 8
            yield Stored(f"float{FLOATS[dtype]}", size, 0 if per_group else elements, None, read)


def _users(node: ov.Node) -> list[ov.Input]:
    """The ports that read a node's first output."""
    return list(node.output(0).get_target_inputs())


def _read_per_token(node: ov.Node) -> bool:
    """Whether a constant, multiplied out, reaches anything but lookups of single rows."""
    frontier = [node]
    while frontier:
        for port in _users(frontier.pop()):
            user = port.get_node()
            if user.get_type_name() in ("Convert", "Subtract", "Multiply", "Reshape"):
                frontier.append(user)
            elif user.get_type_name() != "Gather":
                return True
    return False


def _decompression(tensor: QuantizedTensor, name: str) -> ov.Output:
    """The subgraph that multiplies the integers out, a float32 matrix."""
    out_features, in_features = tensor.codes.shape
    groups = in_features // tensor.group_size
    scales = tensor.scales.numpy().reshape(out_features, groups, 1)
    halves = scales.astype(np.float16)
    exact = np.array_equal(halves.astype(np.float32), scales)
    dtype = ov.Type.f16 if exact else ov.Type.f32
    shape = [out_features, groups, tensor.group_size]
    if tensor.symmetric:
        middle = np.uint8(2 ** (tensor.bits - 1))
        codes = tensor.codes.numpy() ^ middle  # two's complement of code - middle
        if tensor.bits == 4:
            codes &= 15
        weight = ops.convert(_constant(codes, shape, f"i{tensor.bits}"), dtype)
    else:
        codes = _constant(tensor.codes.numpy(), shape, f"u{tensor.bits}")
        zero_shape = [out_features, groups, 1]
        zeros = _constant(tensor.zero_points.numpy(), zero_shape, f"u{tensor.bits}")
        weight = ops.subtract(ops.convert(codes, dtype), ops.convert(zeros, dtype))
    weight = ops.multiply(weight, ops.constant(halves if exact else scales))
    weight = ops.reshape(weight, ops.constant(np.array([out_features, in_features])), False)
    if exact:
        weight = ops.convert(weight, ov.Type.f32)
    weight.set_friendly_name(name)
    return weight.output(0)


def _constant(values: NDArray[np.uint8], shape: list[int], dtype: str) -> ov.Node:
    """A constant of 4- or 8-bit integers."""
    flat = np.ascontiguousarray(values).reshape(-1)
    if BITS[dtype] == 4:
        flat = pack_nibbles(flat)
    tensor = ov.Tensor(flat, ov.Shape(shape), getattr(ov.Type, dtype))
    return ov.op.Constant(tensor, shared_memory=False)
