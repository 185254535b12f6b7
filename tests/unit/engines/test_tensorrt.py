"""TensorRT for RTX without a GPU: what compiles for which target, and what is refused.

Its numerics cannot be seen here; the graphs that it compiles are held against torch in
`test_onnx_graph`, and what runs its engines in `test_tensorrt_runner`.
"""

import json

import numpy as np
import onnx
import pytest

from drawplate import engines
from drawplate.artifacts.manifest import write_manifest
from drawplate.engines import tensorrt
from drawplate.engines.tensorrt.build import Profile
from drawplate.engines.tensorrt.library import import_library
from drawplate.errors import DrawplateError

pytest.importorskip("tensorrt_rtx", reason="make tensorrt installs it", exc_type=ImportError)
SMALL = {"max_batch": 2, "max_new_tokens_at_once": 16, "max_tokens": 64}
TARGETS = ("sm80", "sm86", "sm89", "sm120")


@pytest.fixture(scope="session")
def graph(compiled, tmp_path_factory):
    """A function that gives the folder of a graph with its manifest."""
    made = {}

    def make(name: str, **options: str):
        key = (name, *options.items())
        if key not in made:
            folder, label = compiled("onnx_graph", name, **options)
            if not (folder / "manifest.json").exists():
                write_manifest(
                    folder,
                    kind="engine",
                    name=name,
                    parent=None,
                    step={"kind": "compile", "config": {"engine": "onnx_graph"}},
                    key={},
                    tools={},
                    command="",
                    format=label,
                    started=0.0,
                )
            made[key] = folder
        return made[key]

    return make


@pytest.fixture(scope="session")
def engine(graph, tmp_path_factory):
    """An engine of the tiny INT4 model for sm89, and its label."""
    folder = tmp_path_factory.mktemp("engine")
    return folder, tensorrt.compile(graph("tied-int4"), folder, SMALL, "sm89")


@pytest.mark.parametrize("target", [*TARGETS, "sm121", "portable"])
def test_int4_compiles_for_every_target_without_a_gpu(target, graph, tmp_path):
    label = tensorrt.compile(graph("tied-int4"), tmp_path, SMALL, target)
    assert label["weights_dtype"] == "mixed int4/int8"
    assert label["engine_bytes"] == (tmp_path / "model.plan").stat().st_size
    checked = engines.check("tensorrt", tmp_path)
    assert checked["valid_header"]
    assert checked["target"] == target
    assert json.loads((tmp_path / "config.json").read_text())["vocab_size"] == 512


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_float_compiles(dtype, graph, tmp_path):
    label = tensorrt.compile(graph("untied", dtype=dtype), tmp_path, SMALL, "sm80")
    assert label["weights_dtype"] == dtype


def test_one_graph_makes_different_engines_for_different_targets(engine, graph, tmp_path):
    tensorrt.compile(graph("tied-int4"), tmp_path, SMALL, "sm120")
    assert (tmp_path / "model.plan").read_bytes() != (engine[0] / "model.plan").read_bytes()


def test_nothing_of_the_graph_is_left_in_the_engine(engine):
    names = {path.name for path in engine[0].iterdir()}
    assert {"model.plan", "engine.json", "config.json", "tokenizer.json"} <= names
    assert not {name for name in names if name.endswith((".onnx", ".data", ".key"))}
    assert "manifest.json" not in names


@pytest.mark.parametrize("change", ["cut", "text", "version"])
def test_a_damaged_engine_is_refused_without_a_gpu(change, engine, tmp_path):
    plan = bytearray((engine[0] / "model.plan").read_bytes())
    damaged = {"cut": plan[:20], "text": bytearray(b"no engine" * 100), "version": plan}[change]
    if change == "version":
        damaged[:64] = bytes(64)
    (tmp_path / "model.plan").write_bytes(damaged)
    (tmp_path / "engine.json").write_text((engine[0] / "engine.json").read_text())
    with pytest.raises(DrawplateError, match="is no engine that this TensorRT takes"):
        engines.check("tensorrt", tmp_path)


def test_an_engine_is_not_loaded_without_its_gpu(engine):
    with pytest.raises(DrawplateError, match=r"is for a GPU \(sm89\), here is none"):
        engines.load("tensorrt", engine[0], 2)


def test_a_target_that_the_library_lacks_is_refused(graph, tmp_path):
    with pytest.raises(DrawplateError, match=r"does not know sm90.*it knows.*sm80"):
        tensorrt.compile(graph("tied"), tmp_path, SMALL, "sm90")


def test_a_graph_that_cannot_be_read_is_refused_in_its_words(graph, tmp_path):
    """Zero points off the middle, the very thing that offsets are for."""
    model = onnx.load(graph("tied-int4") / "model.onnx")
    dequantize = next(n for n in model.graph.node if n.op_type == "DequantizeLinear")
    codes = next(t for t in model.graph.initializer if t.name == dequantize.input[0])
    scales = next(t for t in model.graph.initializer if t.name == dequantize.input[1])
    raw = bytes([17] * (int(np.prod(scales.dims)) // 2))
    model.graph.initializer.append(
        onnx.TensorProto(name="zero", dims=scales.dims, data_type=codes.data_type, raw_data=raw)
    )
    dequantize.input.append("zero")
    source, output = tmp_path / "source", tmp_path / "output"
    source.mkdir(), output.mkdir()
    onnx.save(model, source / "model.onnx")
    (source / "config.json").write_text("{}")
    with pytest.raises(DrawplateError, match="Non-zero zero point is not supported"):
        tensorrt.compile(source, output, SMALL, "sm80")


@pytest.mark.parametrize("size", [0.5, 3.0])
def test_a_label_that_the_size_contradicts_is_refused(size):
    with pytest.raises(DrawplateError, match="MB of weights"):
        tensorrt.audited({"tensors": {"float16": 10**9}}, int(size * 10**9))


def test_an_unknown_library_and_a_missing_one_are_refused():
    with pytest.raises(DrawplateError, match="no TensorRT library 'trt'"):
        import_library("trt")
    with pytest.raises(DrawplateError, match="tensorrt cannot be imported here"):
        import_library("tensorrt")


def test_another_version_than_asked_for_is_refused(graph, tmp_path):
    with pytest.raises(DrawplateError, match=r"1\.2\.3 is asked for"):
        tensorrt.compile(graph("tied"), tmp_path, {**SMALL, "version": "1.2.3"}, "sm80")


def test_the_profile_holds_an_empty_cache_and_the_longest_row():
    profile = Profile(batch=8, new=512, total=2048)
    assert profile.shapes("input_ids") == ((1, 1), (1, 1), (8, 512))
    assert profile.shapes("attention_mask")[2] == (8, 2048)
    least, usual, most = profile.shapes("past_key_values.0.key", 3, 64)
    assert (least, usual, most) == ((1, 3, 0, 64), (1, 3, 511, 64), (8, 3, 2047, 64))


def test_what_a_gpu_has_no_units_for_is_refused_in_the_librarys_words(graph, tmp_path):
    with pytest.raises(DrawplateError, match=r"cannot compile this for sm75.*int4"):
        tensorrt.compile(graph("tied-int4"), tmp_path, SMALL, "sm75")
