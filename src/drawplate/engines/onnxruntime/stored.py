"""What the weights file of an ONNX engine holds, read back from the finished graph."""

import math
from pathlib import Path

import onnx

from drawplate.engines.label import Stored

OPERATORS = {"MatMulNBits": 1, "GatherBlockQuantized": 0}  # the input that holds the integers
TABLES = ("cos_cache", "sin_cache")  # rotary position tables: computed, not learned


def stored_tensors(graph: Path) -> list[Stored]:
    """Every stored tensor of a graph, those that share their bytes once.

    Args:
        graph: The finished graph's file.
    """
    model = onnx.load(graph, load_external_data=False)
    grids: dict[str, tuple[int, int]] = {}
    whole: set[str] = set()  # integers [in_features, out_features], a scale for each column
    scales: set[str] = set()
    multiplied: set[str] = set()
    for node in model.graph.node:
        if node.op_type in OPERATORS:
            numbers = {a.name: a.i for a in node.attribute}
            codes = node.input[OPERATORS[node.op_type]]
            grids[codes] = (numbers["bits"], numbers["block_size"])
            scales.update(node.input[2:])
        if node.op_type == "MatMulIntegerToFloat":
            whole.add(node.input[1])
            scales.update(node.input[2:])
        if node.op_type not in ("Gather", "GatherBlockQuantized"):
            multiplied.update(node.input)
    stored: dict[tuple[str, ...], Stored] = {}
    for tensor in model.graph.initializer:
        place = tuple(entry.value for entry in tensor.external_data) or (tensor.name,)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        size = math.prod(tensor.dims) * dtype.itemsize
        read = tensor.name in multiplied or (place in stored and stored[place].read_per_token)
        if tensor.name in grids:
            bits, group_size = grids[tensor.name]
            stored[place] = Stored(f"int{bits}", size, size * 8 // bits, group_size, read)
        elif tensor.name in whole:
            stored[place] = Stored("int8", size, size, tensor.dims[0], read)
        elif tensor.name in scales:
            stored[place] = Stored(dtype.name, size, 0, None, read)
        elif dtype.kind == "f" and tensor.name not in TABLES and tensor.dims:
            stored[place] = Stored(dtype.name, size, math.prod(tensor.dims), None, read)
    return list(stored.values())
