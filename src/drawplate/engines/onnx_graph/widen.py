"""A bfloat16 graph with every value in float32: the same nodes, the same weights, finer arithmetic."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from drawplate.engines.onnxruntime.weights import read_weights, write_weights

NARROW, WIDE = TensorProto.BFLOAT16, TensorProto.FLOAT


def write_widened(folder: Path, output: Path) -> None:
    """Write the float32 twin of a graph.

    Args:
        folder: Holds `model.onnx` and its data.
        output: Where the twin goes, under the same names.
    """
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    graph = model.graph
    arrays = read_weights(model, folder)
    for name, values in arrays.items():
        if values.dtype == helper.tensor_dtype_to_np_dtype(NARROW):
            arrays[name] = values.astype(np.float32)
    for tensor in graph.initializer:
        if tensor.data_type == NARROW and not tensor.external_data:
            wide = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
    for value in [*graph.input, *graph.output]:
        if value.type.tensor_type.elem_type == NARROW:
            value.type.tensor_type.elem_type = WIDE
    del graph.value_info[:]
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type in ("Cast", "QuantizeLinear") and attribute.i == NARROW:
                attribute.i = WIDE
            if attribute.HasField("t") and attribute.t.data_type == NARROW:
                wide = numpy_helper.to_array(attribute.t).astype(np.float32)
                attribute.t.CopyFrom(numpy_helper.from_array(wide, attribute.t.name))
    write_weights(model, arrays, output)
    onnx.save(model, output / "model.onnx")
