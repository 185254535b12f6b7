"""Turn the float graph of a dequantized checkpoint into one on the checkpoint's integers.

`MatMul` becomes `com.microsoft.MatMulNBits` and the embedding's `Gather` becomes
`com.microsoft.GatherBlockQuantized` (ONNX Runtime, ContribOperators.md). Both multiply out
`(code - zero_point) * scale`, so nothing is rounded a second time. Where the checkpoint rounds
activations as well, products become integer ones, see `integers`.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from drawplate.checkpoint.tensors import QuantizedTensor
from drawplate.engines.onnxruntime.integers import MICROSOFT, IntegerProducts
from drawplate.engines.onnxruntime.weights import Arrays
from drawplate.engines.placement import Placement, pack_nibbles, same

HEAD = "/lm_head/MatMul"  # the builder appends to it what it rounded to


def quantize_graph(
    model: onnx.ModelProto,
    arrays: Arrays,
    placement: Placement,
    accuracy_level: int,
    table_dtype: str,
) -> None:
    """Replace float weights by the checkpoint's integers, in place.

    Args:
        model: Float graph.
        arrays: Its float initializers by name; those of replaced weights are replaced too.
        placement: The checkpoint's quantized modules.
        accuracy_level: 0 float32 activations, 4 activations rounded to int8 block by block.
        table_dtype: `float16` or `float32`, for embedding tables that are not quantized.

    Raises:
        DrawplateError: If a quantized module is not in the graph, or only partly.
    """
    done: list[tuple[QuantizedTensor, list[str]]] = []
    integers = IntegerProducts(model.graph, arrays)
    for node in list(model.graph.node):
        weight = _matrix(arrays, node.input[1]) if node.op_type == "MatMul" else None
        tensor = placement.find(weight.T) if weight is not None else None
        if tensor is not None and tensor.activations:
            integers.replace(node, tensor)
        elif tensor is not None:
            done.append((tensor, _store(arrays, node.input[1], tensor)))
            _to_matmul(node, *done[-1], accuracy_level)
    transposed = {
        node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Transpose"
    }
    for node in [node for node in model.graph.node if node.op_type == "Gather"]:
        source = transposed.get(node.input[0], node.input[0])
        rows = _matrix(arrays, source)
        if rows is None:
            continue
        rows = rows.T if node.input[0] in transposed else rows
        tensor = placement.find(rows)
        if tensor is not None:
            stored = [names for other, names in done if same(other, tensor)]
            names = stored[0] if stored else _store(arrays, source, tensor)
            _to_gather(node, tensor, _flat_view(arrays, names))
        elif table_dtype == "float16" and source == node.input[0]:  # else it is the head too
            _to_half_gather(model.graph, node, arrays, rows)
    placement.check_complete()
    prune(model, arrays)


def prune(model: onnx.ModelProto, arrays: Arrays) -> None:
    """Drop every node, initializer and value that no output needs, in place."""
    graph = model.graph
    needed = {output.name for output in graph.output}
    nodes = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    nodes.reverse()
    _replace(graph.node, nodes)
    _replace(graph.initializer, [t for t in graph.initializer if t.name in needed])
    made = {name for node in nodes for name in node.output}
    _replace(graph.value_info, [v for v in graph.value_info if v.name in made])
    for name in arrays.keys() - needed:
        del arrays[name]


def last_position_only(model: onnx.ModelProto) -> None:
    """Let the head see the last position alone, in place: logits become [batch, 1, vocabulary].

    It is what the tool's option `prune_lm_head` builds; both graphs here share one weights file.
    """
    graph = model.graph
    index = next(i for i, node in enumerate(graph.node) if node.name.startswith(HEAD))
    states = graph.node[index].input[0]
    graph.initializer.extend(
        [
            helper.make_tensor("last_position", onnx.TensorProto.INT64, [], [-1]),
            helper.make_tensor("sequence_axis", onnx.TensorProto.INT64, [1], [1]),
        ]
    )
    gather = helper.make_node(
        "Gather", [states, "last_position"], ["/lm_head/last"], "/lm_head/last/Gather", axis=1
    )
    unsqueeze = helper.make_node(
        "Unsqueeze", ["/lm_head/last", "sequence_axis"], ["/lm_head/input"], "/lm_head/Unsqueeze"
    )
    graph.node[index].input[0] = "/lm_head/input"
    graph.node.insert(index, unsqueeze)
    graph.node.insert(index, gather)
    # Values after the head had the whole sequence in their shapes.
    after = {name for node in graph.node[index + 2 :] for name in node.output}
    _replace(graph.value_info, [v for v in graph.value_info if v.name not in after])
    logits = next(output for output in graph.output if output.name == "logits")
    logits.type.tensor_type.shape.dim[1].dim_value = 1


def _matrix(arrays: Arrays, name: str) -> NDArray[np.float32] | None:
    """The float weight matrix of that name, None if there is no such matrix."""
    array = arrays.get(name)
    if array is None or array.ndim != 2 or array.dtype != np.float32:
        return None
    return np.asarray(array, dtype=np.float32)


def _store(arrays: Arrays, weight: str, tensor: QuantizedTensor) -> list[str]:
    """Put integers, scales and zero points in the place of a float weight; their names."""
    out_features, in_features = tensor.codes.shape
    codes = tensor.codes.numpy()
    zero_points = tensor.zero_points.numpy()
    if tensor.bits == 4:
        codes, zero_points = pack_nibbles(codes), pack_nibbles(zero_points)
    names = [f"{weight}.codes", f"{weight}.scales"]
    arrays[names[0]] = codes.reshape(out_features, in_features // tensor.group_size, -1)
    arrays[names[1]] = tensor.scales.numpy()
    if not tensor.symmetric:  # the operators' own default is the middle of the grid
        names.append(f"{weight}.zero_points")
        arrays[names[2]] = zero_points
    return names


def _flat_view(arrays: Arrays, stored: list[str]) -> list[str]:
    """The names of a stored weight with its integers as a matrix, on the same memory."""
    flat = f"{stored[0]}.rows"
    arrays[flat] = arrays[stored[0]].reshape(len(arrays[stored[0]]), -1)
    return [flat, *stored[1:]]


def _to_matmul(
    node: onnx.NodeProto, tensor: QuantizedTensor, stored: list[str], accuracy_level: int
) -> None:
    out_features, in_features = tensor.codes.shape
    node.op_type, node.domain = "MatMulNBits", MICROSOFT
    _replace(node.input, [node.input[0], *stored])
    for name, value in (
        ("K", in_features),
        ("N", out_features),
        ("accuracy_level", accuracy_level),
        ("bits", tensor.bits),
        ("block_size", tensor.group_size),
    ):
        node.attribute.append(helper.make_attribute(name, value))


def _to_gather(node: onnx.NodeProto, tensor: QuantizedTensor, stored: list[str]) -> None:
    node.op_type, node.domain = "GatherBlockQuantized", MICROSOFT
    _replace(node.input, [stored[0], node.input[1], *stored[1:]])
    del node.attribute[:]
    for name, value in (
        ("bits", tensor.bits),
        ("block_size", tensor.group_size),
        ("gather_axis", 0),
        ("quantize_axis", 1),
    ):
        node.attribute.append(helper.make_attribute(name, value))


def _to_half_gather(
    graph: onnx.GraphProto, node: onnx.NodeProto, arrays: Arrays, rows: NDArray[np.float32]
) -> None:
    """Keep the float table of a quantized model in float16, half its size on disk.

    The relative rounding error, 2**-12 at most, is a fraction of what 8 bits leave in any layer.
    """
    half = f"{node.input[0]}.half"
    arrays[half] = rows.astype(np.float16)
    node.input[0] = half
    output = node.output[0]
    node.output[0] = f"{output}.half"
    cast = helper.make_node(
        "Cast", [node.output[0]], [output], f"{node.name}.Cast", to=onnx.TensorProto.FLOAT
    )
    graph.node.insert(list(graph.node).index(node) + 1, cast)


def _replace(repeated: object, items: list[object]) -> None:
    """Set a protobuf list's items."""
    del repeated[:]  # type: ignore[attr-defined]
    repeated.extend(items)  # type: ignore[attr-defined]
