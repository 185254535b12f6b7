"""Integer products for a checkpoint whose activations are quantized: its integers, its rounding.

`MatMul` becomes `QuantizeLinear` and `com.microsoft.MatMulIntegerToFloat` (a `MatMulInteger` that
multiplies its result by the scales, ONNX Runtime, ContribOperators.md). Inputs and weights are held
as unsigned integers, 128 above the checkpoint's signed ones, with the zero points moved as far: the
same product. Signed inputs are slow on x86 processors (9 ms where unsigned ones take 0.9, 256 tokens,
384 by 1536, ONNX Runtime 1.32 with AVX512-VNNI), and signed weights beside unsigned inputs are wrong
on those without VNNI, where sums of two products saturate at 16 bits.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from drawplate.checkpoint.tensors import Activations, QuantizedTensor
from drawplate.engines.onnxruntime.weights import Arrays

MICROSOFT = "com.microsoft"
MIDDLE = 128
HALF_RANGE = np.float32(127.5)
"""The largest magnitude of a token by this is its scale, as compressed-tensors has it."""
SMALLEST = np.finfo(np.float32).tiny  # keeps a token of zeros from dividing by zero
Names = dict[str, str]


class IntegerProducts:
    """Turns the products of one graph into integer ones; an input that several read is rounded once."""

    def __init__(self, graph: onnx.GraphProto, arrays: Arrays) -> None:
        self._graph = graph
        self._arrays = arrays
        self._constants: set[str] = set()
        self._rounded: dict[tuple[str, Activations], Names] = {}

    def replace(self, node: onnx.NodeProto, tensor: QuantizedTensor) -> None:
        """Replace a float `MatMul` [..., in_features] x [in_features, out_features], in place.

        Args:
            node: Of the graph.
            tensor: The checkpoint's weight and how its input is rounded.
        """
        assert tensor.activations is not None
        source, output, weight = node.input[0], node.output[0], node.input[1]
        codes = tensor.codes.numpy()
        names = {part: f"{weight}.{part}" for part in ("codes", "scales", "zero")}
        self._arrays[names["codes"]] = np.ascontiguousarray(codes.T)
        self._arrays[names["scales"]] = tensor.scales.numpy().reshape(-1)
        self._constant(names["zero"], np.uint8(MIDDLE))
        made = self._round(source, tensor.activations, codes.shape[1])
        product = [made["codes"], names["codes"], made["scale"], names["scales"]]
        product += [made["zero"], names["zero"]]
        if not tensor.activations.dynamic:
            new = [_contrib(product, output, node.name)]
        else:
            shape = f"{output}.shape"
            self._constant(f"{output}.width", np.array([len(codes)]))
            new = [
                _contrib(product, f"{output}.unit", node.name),
                helper.make_node("Mul", [f"{output}.unit", made["rows"]], [f"{output}.rows"]),
                helper.make_node("Concat", [made["shape"], f"{output}.width"], [shape], axis=0),
                helper.make_node("Reshape", [f"{output}.rows", shape], [output]),
            ]
        self._put(output, new, remove=True)

    def _round(self, source: str, activations: Activations, width: int) -> Names:
        """Names of a rounded input's integers, scale and zero point."""
        key = (source, activations)
        if key not in self._rounded:
            made = {p: f"{source}.{p}" for p in ("codes", "scale", "zero", "rows", "shape", "flat")}
            make = self._round_by_token if activations.dynamic else self._round_whole
            self._rounded[key] = made
            first = next(node for node in self._graph.node if source in node.input)
            self._put(first.output[0], make(source, made, activations, width), remove=False)
        return self._rounded[key]

    def _round_whole(
        self, source: str, made: Names, activations: Activations, width: int
    ) -> list[onnx.NodeProto]:
        """One scale and zero point for the whole input."""
        self._constant(made["scale"], np.float32(activations.scale))
        self._constant(made["zero"], np.uint8(activations.zero_point + MIDDLE))
        inputs = [source, made["scale"], made["zero"]]
        return [helper.make_node("QuantizeLinear", inputs, [made["codes"]])]

    def _round_by_token(
        self, source: str, made: Names, activations: Activations, width: int
    ) -> list[onnx.NodeProto]:
        """A scale for each token, as a column of the input laid out [tokens, width]."""
        names = {p: f"{made['flat']}.{p}" for p in ("to", "abs", "max", "raw", "line", "size")}
        self._constant(names["to"], np.array([-1, width]))
        self._constant(made["zero"], np.uint8(MIDDLE))
        self._constant(made["scale"], np.float32(1))
        for name, value in (
            ("token.last", np.array([1])),
            ("token.all", np.array([-1])),
            ("token.half", HALF_RANGE),
            ("token.smallest", SMALLEST),
        ):
            self._constant(name, value)
        make = helper.make_node
        return [
            make("Shape", [source], [made["shape"]], end=-1),
            make("Reshape", [source, names["to"]], [made["flat"]]),
            make("Abs", [made["flat"]], [names["abs"]]),
            make("ReduceMax", [names["abs"], "token.last"], [names["max"]], keepdims=1),
            make("Div", [names["max"], "token.half"], [names["raw"]]),
            make("Max", [names["raw"], "token.smallest"], [made["rows"]]),
            make("Reshape", [made["rows"], "token.all"], [names["line"]]),
            make("Shape", [names["line"]], [names["size"]]),
            make("Expand", [made["zero"], names["size"]], [f"{made['zero']}.line"]),
            make(
                "QuantizeLinear",
                [made["flat"], names["line"], f"{made['zero']}.line"],
                [made["codes"]],
                axis=0,
            ),
        ]

    def _constant(self, name: str, value: object) -> None:
        """Numbers that stand in the graph itself, where the runtime's shape inference reads them."""
        if name not in self._constants:
            self._constants.add(name)
            self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))

    def _put(self, output: str, new: list[onnx.NodeProto], remove: bool) -> None:
        """Put nodes before the one that makes an output, or in its place."""
        nodes = self._graph.node
        place = next(i for i, node in enumerate(nodes) if output in node.output)
        if remove:
            del nodes[place]
        for offset, made in enumerate(new):
            nodes.insert(place + offset, made)


def _contrib(inputs: list[str], output: str, name: str) -> onnx.NodeProto:
    return helper.make_node("MatMulIntegerToFloat", inputs, [output], name, domain=MICROSOFT)
