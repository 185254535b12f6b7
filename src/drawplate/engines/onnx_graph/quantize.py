"""Put a checkpoint's own numbers behind `DequantizeLinear`, in the forms that TensorRT compiles.

| checkpoint | graph |
|---|---|
| integers in groups, symmetric | `DequantizeLinear` in blocks along the inputs |
| integers in groups, asymmetric | the same with every zero point in the middle, and `offset` |
| 8 bits, inputs rounded to fixed scales | `QuantizeLinear` and `DequantizeLinear` in front as well |
| E4M3, inputs rounded to fixed scales | the same in E4M3 |

TensorRT's quantization is symmetric (NVIDIA, TensorRT documentation, Working with Quantized Types):
its parser refuses zero points. But
`sum_i (c_i - z) s x_i = sum_i (c_i - m) s x_i + (m - z) s sum_i x_i` within a group, m the middle of
the grid: the second term is a product with the sums of the inputs over each group, group_size times
narrower. It is exact up to the rounding of `(m - z) s`, and what reads the same input shares its sums.
"""

from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from drawplate.checkpoint.quantized import read_float8, read_quantized
from drawplate.checkpoint.tensors import Float8Tensor, QuantizedTensor
from drawplate.engines.onnx_graph.export import module_of
from drawplate.engines.onnxruntime.weights import Arrays
from drawplate.errors import DrawplateError

OPSET = 21  # the first whose DequantizeLinear has blocks, 4-bit integers and float16 scales


def quantize_graph(model: onnx.ModelProto, arrays: Arrays, checkpoint: Path) -> None:
    """Replace the float weights of products by what a quantized checkpoint stores, in place.

    An embedding stays in the graph's dtype: a row of it is looked up, and TensorRT has no lookup
    that dequantizes.

    Args:
        model: Graph as `export.export_decoder` writes it.
        arrays: Its weights by name; those of replaced ones are added to.
        checkpoint: The quantized checkpoint.

    Raises:
        DrawplateError: If a quantized module is not in the graph, or in a form it cannot hold.
    """
    quantized: dict[str, Mapping[str, QuantizedTensor | Float8Tensor]] = {}
    for weights in (read_quantized(checkpoint), read_float8(checkpoint)):
        quantized |= dict.fromkeys(weights, weights)
    missing = {name for name in quantized if "embed" not in name}
    nodes = _Nodes(model.graph, arrays)
    for node in list(model.graph.node):
        module = module_of(node) if node.op_type == "MatMul" else None
        if module in missing:
            missing.remove(module)
            weight = quantized[module][module]
            if isinstance(weight, Float8Tensor):
                nodes.replace_float8(node, module, weight)
            else:
                nodes.replace(node, module, weight)
    if missing:
        raise DrawplateError(
            f"{len(missing)} quantized modules are not in the exported graph: "
            f"{', '.join(sorted(missing)[:3])}",
            "leave these modules in float, or choose another engine",
        )
    nodes.write()
    next(entry for entry in model.opset_import if not entry.domain).version = OPSET


class _Nodes:
    """The nodes of a graph while products are replaced."""

    def __init__(self, graph: onnx.GraphProto, arrays: Arrays) -> None:
        self._graph = graph
        self._arrays = arrays
        self._before: dict[str, list[onnx.NodeProto]] = {}  # by the name of the node they precede
        self._after: dict[str, list[onnx.NodeProto]] = {}
        self._made: dict[str, str] = {}  # rounded inputs and sums that several products share
        value = next(output for output in graph.output if output.name == "logits")
        self._dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)

    def replace(self, node: onnx.NodeProto, name: str, tensor: QuantizedTensor) -> None:
        """Let a product read a checkpoint's integers."""
        self._before[node.name], self._after[node.name] = [], []
        middle = 2 ** (tensor.bits - 1)
        codes = (tensor.codes.to(torch.int16) - middle).to(torch.int8).numpy().T
        scales = self._rounded(tensor.scales.numpy().T)
        # Groups of zeros, or as good as: TensorRT wants every scale to be positive.
        dead = scales == 0
        codes = np.where(dead.repeat(tensor.group_size, axis=0), np.int8(0), codes)
        scales[dead] = 1
        whole = len(scales) == 1  # a scale for each output
        self._arrays[f"{name}.codes"] = _integers(codes, tensor.bits)
        self._arrays[f"{name}.scales"] = scales[0] if whole else scales
        how = {"axis": 1} if whole else {"axis": 0, "block_size": tensor.group_size}
        inputs = [f"{name}.codes", f"{name}.scales"]
        self._put(node, "DequantizeLinear", inputs, f"{name}.weight", **how)
        source, node.input[1] = node.input[0], f"{name}.weight"
        if tensor.activations is not None:
            node.input[0] = self._round(node, name, source, tensor)
        if not tensor.symmetric:
            self._add_offset(node, name, source, tensor)

    def replace_float8(self, node: onnx.NodeProto, name: str, tensor: Float8Tensor) -> None:
        """Let a product read a checkpoint's E4M3 weights, and round its input to E4M3."""
        self._before[node.name], self._after[node.name] = [], []
        if tensor.input_scale is None:
            raise DrawplateError(
                f"inputs of {name} are rounded token by token", "use method: fp8-static"
            )
        values = tensor.values.view(torch.uint8).numpy().T.copy()
        scales = self._rounded(tensor.scales.numpy()[:, 0])
        values[:, scales == 0] = 0
        scales[scales == 0] = 1
        self._arrays[f"{name}.codes"] = values.view(ml_dtypes.float8_e4m3fn)
        self._arrays[f"{name}.scales"] = scales
        inputs = [f"{name}.codes", f"{name}.scales"]
        self._put(node, "DequantizeLinear", inputs, f"{name}.weight", axis=1)
        zero = np.asarray(0, ml_dtypes.float8_e4m3fn)
        source, node.input[1] = node.input[0], f"{name}.weight"
        node.input[0] = self._fixed(node, name, source, tensor.input_scale, zero)

    def write(self) -> None:
        """Set the graph's nodes to the old ones with the new ones around them."""
        nodes = []
        for node in self._graph.node:
            nodes += [*self._before.get(node.name, []), node, *self._after.get(node.name, [])]
        del self._graph.node[:]
        self._graph.node.extend(nodes)

    def _round(self, node: onnx.NodeProto, name: str, source: str, tensor: QuantizedTensor) -> str:
        """The input of a product rounded to the checkpoint's fixed scale."""
        rule = tensor.activations
        assert rule is not None
        if rule.scale is None or rule.zero_point:
            raise DrawplateError(
                f"inputs of {name} are rounded {'token by token' if rule.dynamic else 'off zero'}",
                "use method: smoothquant-w8a8-static",
            )
        return self._fixed(node, name, source, rule.scale, np.int8(0))

    def _fixed(
        self, node: onnx.NodeProto, name: str, source: str, scale: float, zero: object
    ) -> str:
        """An input rounded to the type of `zero` and back; the same scale of the same input, once."""
        key = f"{source}.rounded.{scale}"
        if key not in self._made:
            self._made[key] = f"{name}.input"
            self._constant(f"{name}.input_scale", np.asarray(scale, self._dtype))
            self._constant(f"{name}.input_zero", zero)
            grid = [f"{name}.input_scale", f"{name}.input_zero"]
            self._put(node, "QuantizeLinear", [source, *grid], f"{name}.input_codes")
            self._put(node, "DequantizeLinear", [f"{name}.input_codes", *grid], f"{name}.input")
        return self._made[key]

    def _add_offset(
        self, node: onnx.NodeProto, name: str, source: str, tensor: QuantizedTensor
    ) -> None:
        """Add what zero points off the middle of the grid contribute."""
        width = tensor.group_size
        key = f"{source}.sums.{width}"
        if key not in self._made:
            self._made[key] = key
            # 0 keeps a size, -1 is the number of groups.
            self._constant(f"groups_of.{width}", np.array([0, 0, -1, width]))
            self._constant("last_axis", np.array([-1]))
            self._put(node, "Reshape", [source, f"groups_of.{width}"], f"{source}.groups.{width}")
            inputs = [f"{source}.groups.{width}", "last_axis"]
            self._put(node, "ReduceSum", inputs, key, keepdims=0)
        off = 2 ** (tensor.bits - 1) - tensor.zero_points.to(torch.float32)
        self._arrays[f"{name}.offset"] = self._rounded((off * tensor.scales).numpy().T)
        output, node.output[0] = node.output[0], f"{name}.centred"
        self._put(node, "MatMul", [key, f"{name}.offset"], f"{name}.shift")
        add = helper.make_node("Add", [f"{name}.centred", f"{name}.shift"], [output], f"{name}.Add")
        self._after[node.name].append(add)

    def _put(
        self, node: onnx.NodeProto, kind: str, inputs: list[str], output: str, **attributes: int
    ) -> None:
        made = helper.make_node(kind, inputs, [output], f"{output}.{kind}", **attributes)
        self._before[node.name].append(made)

    def _constant(self, name: str, value: object) -> None:
        """Numbers in the graph itself, where shape inference reads them; the same name, once."""
        if all(tensor.name != name for tensor in self._graph.initializer):
            self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))

    def _rounded(self, values: NDArray[np.float32]) -> NDArray[np.generic]:
        """Scales in the dtype that the graph computes in, as strong typing wants them."""
        rounded = np.ascontiguousarray(values.astype(self._dtype))
        if not np.isfinite(rounded.astype(np.float32)).all():
            raise DrawplateError(
                f"a scale of {np.abs(values).max():.3g} is beyond {self._dtype}",
                "export in bfloat16: options.dtype",
            )
        return rounded


def _integers(codes: NDArray[np.int8], bits: int) -> NDArray[np.generic]:
    wide = np.ascontiguousarray(codes)
    return wide.astype(ml_dtypes.int4) if bits == 4 else wide
