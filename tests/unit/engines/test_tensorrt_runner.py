"""What runs engines on a GPU, with ONNX Runtime in the place of TensorRT and memory in that of a GPU.

There is no GPU here: the stand-in takes shapes and addresses as an execution context does, reads what
lies there, runs the very graph and writes its outputs to the addresses given. Shapes, addresses,
pieces of a prompt and the exchange of caches are the runner's own.
"""

import ctypes

import numpy as np
import onnxruntime
import pytest

from drawplate.engines.tensorrt.runner import Loaded
from drawplate.errors import DrawplateError

SETTINGS = {"max_batch": 3, "max_new_tokens_at_once": 8, "max_tokens": 40}


class Dtype:
    def __init__(self, name: str) -> None:
        self.name = name


class Engine:
    """Names, dtypes and shapes as `ICudaEngine` gives them."""

    def __init__(self, session) -> None:
        self._values = {v.name: v for v in [*session.get_inputs(), *session.get_outputs()]}
        self.num_io_tensors = len(self._values)

    def get_tensor_name(self, index: int) -> str:
        return list(self._values)[index]

    def get_tensor_dtype(self, name: str) -> Dtype:
        known = {"tensor(float)": "FLOAT", "tensor(float16)": "HALF", "tensor(int64)": "INT64"}
        return Dtype(known[self._values[name].type])

    def get_tensor_shape(self, name: str) -> list[int]:
        return [size if isinstance(size, int) else -1 for size in self._values[name].shape]


class Context:
    """As `IExecutionContext`."""

    def __init__(self, session) -> None:
        self._session = session
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._places: dict[str, int] = {}
        self.passes: list[tuple[int, int]] = []

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        self._shapes[name] = shape

    def set_tensor_address(self, name: str, address: int) -> None:
        self._places[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        feeds = {}
        for value in self._session.get_inputs():
            dtype = np.int64 if value.type == "tensor(int64)" else np.float32
            shape = self._shapes[value.name]
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            raw = ctypes.string_at(self._places[value.name], size)
            feeds[value.name] = np.frombuffer(raw, dtype).reshape(shape)
        self.passes.append(feeds["input_ids"].shape)
        names = [value.name for value in self._session.get_outputs()]
        for name, values in zip(names, self._session.run(names, feeds), strict=True):
            raw = np.ascontiguousarray(values).tobytes()
            ctypes.memmove(self._places[name], raw, len(raw))
        return True


@pytest.fixture
def loaded(compiled):
    folder, _ = compiled("onnx_graph", "tied", dtype="float32")
    session = onnxruntime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    context = Context(session)
    runner = Loaded(Engine(session), context, SETTINGS, "stand-in 0", folder, device="cpu")
    runner.context = context
    return runner


def prompts(batch: int, tokens: int) -> np.ndarray:
    return np.random.default_rng(tokens).integers(3, 500, size=(batch, tokens))


@pytest.mark.parametrize(("batch", "tokens"), [(1, 1), (1, 8), (1, 37), (3, 20), (7, 9)])
def test_logits_are_those_of_torch(batch, tokens, loaded, reference):
    ids = prompts(batch, tokens)
    np.testing.assert_allclose(loaded.logits(ids), reference("tied").logits(ids), atol=2e-3)


@pytest.mark.parametrize(("batch", "tokens"), [(1, 1), (1, 20), (3, 9)])
def test_generates_the_greedy_continuation(batch, tokens, loaded, reference):
    ids, steps = prompts(batch, tokens), []
    new = loaded.generate(ids, 16, on_token=lambda: steps.append(None))
    np.testing.assert_array_equal(new, reference("tied").generate(ids, 16))
    assert len(steps) == 16


def test_a_long_prompt_goes_in_pieces_and_then_token_by_token(loaded):
    loaded.generate(prompts(2, 19), 3)
    assert loaded.context.passes == [(2, 8), (2, 8), (2, 3), (2, 1), (2, 1)]


def test_stops_when_every_row_has_stopped(loaded):
    ids = prompts(2, 9)
    free = loaded.generate(ids, 16)
    stops = (int(free[0, 2]), int(free[1, 5]))
    last = max(int(np.isin(row, stops).argmax()) for row in free)
    np.testing.assert_array_equal(loaded.generate(ids, 16, stops), free[:, : last + 1])


def test_a_smaller_batch_after_a_larger_one_reads_nothing_stale(loaded, reference):
    loaded.generate(prompts(3, 20), 8)
    ids = prompts(1, 5)
    np.testing.assert_array_equal(loaded.generate(ids, 8), reference("tied").generate(ids, 8))


@pytest.mark.parametrize(("batch", "tokens", "new"), [(4, 5, 1), (1, 41, 1), (1, 39, 4)])
def test_more_than_the_engine_takes_is_refused(batch, tokens, new, loaded):
    with pytest.raises(DrawplateError, match="beyond the engine's"):
        loaded.generate(prompts(batch, tokens), new)


def test_no_new_tokens_are_none(loaded):
    assert loaded.generate(prompts(2, 5), 0).shape == (2, 0)
