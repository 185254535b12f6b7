"""Weights of an ONNX graph: read from, and written to, one file beside the graph."""

import math
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray

from drawplate.engines.placement import pack_nibbles

Arrays = dict[str, NDArray[np.generic]]
"""Initializers by name."""
DATA_FILE = "model.onnx.data"
ALIGNMENT_BYTES = 64


def read_weights(model: onnx.ModelProto, folder: Path) -> dict[str, NDArray[np.generic]]:
    """Every initializer stored outside the graph, memory-mapped but for 4-bit integers.

    Args:
        model: Graph loaded without its external data.
        folder: Where the graph's file lies.
    """
    arrays: dict[str, NDArray[np.generic]] = {}
    for tensor in model.graph.initializer:
        if not tensor.external_data:
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        shape = tuple(tensor.dims)
        narrow = dtype == ml_dtypes.int4
        stored = np.memmap(
            folder / place["location"],
            dtype=np.uint8 if narrow else dtype,
            mode="r",
            offset=int(place.get("offset", 0)),
            shape=((math.prod(shape) + 1) // 2,) if narrow else shape,
        )
        arrays[tensor.name] = _unpacked(stored, shape) if narrow else stored
    return arrays


def _unpacked(stored: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.generic]:
    """Signed 4-bit integers out of bytes that hold two each; the inverse of `_stored`."""
    halves = np.stack([stored & 15, stored >> 4], axis=1).reshape(-1)[: math.prod(shape)]
    signed = (halves ^ 8).astype(np.int8) - 8
    whole: NDArray[np.generic] = signed.astype(ml_dtypes.int4).reshape(shape)
    return whole


def write_weights(
    model: onnx.ModelProto, arrays: dict[str, NDArray[np.generic]], folder: Path
) -> None:
    """Write arrays into the data file and make them the graph's initializers.

    Arrays that are views of one memory (an embedding and a head that share their integers) are
    written once and both point there.

    Args:
        model: Graph whose initializers of these names are replaced or added.
        arrays: Values by initializer name, written one after another.
        folder: Where the data file goes.
    """
    kept = [t for t in model.graph.initializer if t.name not in arrays]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    offsets: dict[int, int] = {}
    with (folder / DATA_FILE).open("wb") as file:
        for name, array in arrays.items():
            address = array.__array_interface__["data"][0]
            if address not in offsets:
                file.write(b"\0" * (-file.tell() % ALIGNMENT_BYTES))
                offsets[address] = file.tell()
                file.write(_stored(array).data)
            model.graph.initializer.append(_external(name, array, offsets[address]))


def _stored(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    """The bytes of an array as ONNX lays them out: two 4-bit integers in one."""
    whole = np.ascontiguousarray(array).reshape(-1)
    if array.dtype == ml_dtypes.int4:
        return pack_nibbles(whole.astype(np.int8).view(np.uint8) & np.uint8(15))
    return whole.view(np.uint8)


def _external(name: str, array: NDArray[np.generic], offset: int) -> onnx.TensorProto:
    """An initializer whose bytes lie in the data file."""
    nbytes = (array.size + 1) // 2 if array.dtype == ml_dtypes.int4 else array.nbytes
    tensor = onnx.TensorProto(
        name=name,
        dims=array.shape,
        data_type=onnx.helper.np_dtype_to_tensor_dtype(array.dtype),
        data_location=onnx.TensorProto.EXTERNAL,
    )
    for key, value in (("location", DATA_FILE), ("offset", offset), ("length", nbytes)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor
