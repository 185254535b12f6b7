"""What a graph holds, read back from the finished file."""

import math
from pathlib import Path

import onnx

from drawplate.engines.label import Stored

FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
BITS = {onnx.TensorProto.INT4: 4, onnx.TensorProto.INT8: 8, onnx.TensorProto.FLOAT8E4M3FN: 8}
NAMES = {onnx.TensorProto.INT4: "int4", onnx.TensorProto.INT8: "int8"}
NAMES[onnx.TensorProto.FLOAT8E4M3FN] = "float8"


def stored_tensors(graph: Path) -> list[Stored]:
    """Every stored tensor of a graph.

    Args:
        graph: The finished graph's file.
    """
    model = onnx.load(graph, load_external_data=False)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    codes: dict[str, int] = {}
    beside: set[str] = set()  # scales and offsets: no weights of the model
    multiplied: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors:
            block = next((a.i for a in node.attribute if a.name == "block_size"), 0)
            codes[node.input[0]] = block or tensors[node.input[0]].dims[0]
            beside.update(node.input[1:])
        if node.op_type == "MatMul" and node.input[1].endswith(".offset"):
            beside.add(node.input[1])
        if node.op_type != "Gather":
            multiplied.update(node.input)
    stored = []
    for name, tensor in tensors.items():
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        count, read = math.prod(tensor.dims), name in multiplied
        if name in codes:
            size = count * BITS[tensor.data_type] // 8
            stored.append(Stored(NAMES[tensor.data_type], size, count, codes[name], read))
        elif name in beside:
            stored.append(Stored(dtype.name, count * dtype.itemsize, 0, None, read))
        elif tensor.data_type in FLOATS and tensor.dims:
            stored.append(Stored(dtype.name, count * dtype.itemsize, count, None, read))
    return stored
