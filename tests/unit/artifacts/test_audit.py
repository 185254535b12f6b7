import json

import pytest
import torch
from safetensors.torch import save_file

from drawplate.artifacts.audit import audit, compare_tokenizer
from drawplate.checkpoint.quantized import write_quantized
from drawplate.errors import DrawplateError
from drawplate.quantize.grid import round_to_nearest


def save(folder, tensors, config=None):
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config or {}))
    return folder


@pytest.fixture
def base(tmp_path):
    torch.manual_seed(0)
    tensors = {
        "a.weight": torch.randn(64, 64),
        "b.weight": torch.randn(32, 64),
        "norm.weight": torch.ones(64),
    }
    return save(tmp_path / "base", tensors)


def quantized(base, tmp_path, bits):
    weights = torch.randn(64, 64), torch.randn(32, 64)
    output = tmp_path / "child"
    output.mkdir()
    entries = [
        (name, round_to_nearest(weight, width, 32, symmetric=False))
        for name, weight, width in zip("ab", weights, bits, strict=True)
    ]
    write_quantized(base, output, [*entries, ("norm.weight", torch.ones(64))])
    return output


def test_float_label(base):
    assert audit(base) == {
        "weights_dtype": "float32",
        "bits_per_weight": 32.0,
        "group_size": None,
        "quantization_method": None,
        "activations": None,
        "tensors": {"float32": (64 * 64 + 32 * 64 + 64) * 4},
    }


@pytest.mark.parametrize(
    ("bits", "dtype"), [((4, 4), "int4"), ((8, 8), "int8"), ((4, 8), "mixed int4/int8")]
)
def test_quantized_label_counts_every_stored_bit(base, tmp_path, bits, dtype):
    label = audit(quantized(base, tmp_path, bits))
    assert label["weights_dtype"] == dtype
    assert label["group_size"] == 32
    assert label["quantization_method"] == "compressed-tensors pack-quantized"
    sizes = (64 * 64, 32 * 64)
    groups = sum(sizes) // 32
    stored = sum(n * b for n, b in zip(sizes, bits, strict=True)) + groups * (16 + 8)
    stored += 64 * 32 + 2 * 2 * 64  # the norm, and two shapes of two int64
    assert label["bits_per_weight"] == pytest.approx(stored / (sum(sizes) + 64), abs=1e-3)
    assert sum(label["tensors"].values()) * 8 == stored


def test_more_bits_than_declared_are_refused(base, tmp_path):
    child = quantized(base, tmp_path, (8, 8))
    audit(child, declared_bits_per_weight=10)
    with pytest.raises(DrawplateError, match=r"bits a weight stored, 5\.00 declared"):
        audit(child, declared_bits_per_weight=5)


@pytest.mark.parametrize(
    ("name", "tensor", "complaint"),
    [
        ("a.weight", torch.full((64, 64), torch.nan), "a.weight holds NaN or infinity"),
        ("norm.weight", torch.tensor([1.0, torch.inf]), "norm.weight holds NaN or infinity"),
        ("a.weight", torch.zeros(64, 64), r"a.weight is constant \(0.0\)"),
        ("a.weight", torch.full((64, 64), 0.5), r"a.weight is constant \(0.5\)"),
    ],
)
def test_broken_tensors_are_named(tmp_path, name, tensor, complaint):
    with pytest.raises(DrawplateError, match=complaint):
        audit(save(tmp_path / "broken", {name: tensor}))


def test_dead_quantized_tensors_are_named(base, tmp_path):
    from safetensors.torch import load_file

    child = quantized(base, tmp_path, (4, 4))
    tensors = load_file(child / "model.safetensors")
    tensors["a.weight_packed"][:] = 7
    tensors["b.weight_scale"][:] = 0
    save_file(tensors, child / "model.safetensors")
    with pytest.raises(
        DrawplateError, match=r"a.weight_packed is constant.*b.weight_scale is zero"
    ):
        audit(child)


def test_tokenizer_must_come_through_byte_by_byte(tmp_path):
    parent, child = tmp_path / "parent", tmp_path / "child"
    for folder in (parent, child):
        folder.mkdir()
        (folder / "tokenizer.json").write_text("{}")
    compare_tokenizer(parent, child)
    (parent / "chat_template.jinja").write_text("x")
    with pytest.raises(DrawplateError, match=r"child has no chat_template\.jinja"):
        compare_tokenizer(parent, child)
    (child / "chat_template.jinja").write_text("y")
    with pytest.raises(DrawplateError, match=r"chat_template\.jinja differs"):
        compare_tokenizer(parent, child)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_eight_bit_floats_are_looked_at_too(tmp_path, dtype):
    torch.manual_seed(0)
    tensors = {"a.weight": torch.randn(8, 8).to(dtype)}
    label = audit(save(tmp_path / "whole", tensors))
    assert label["weights_dtype"] == str(dtype).removeprefix("torch.")
    tensors["a.weight"] = torch.full((8, 8), torch.nan).to(dtype)
    with pytest.raises(DrawplateError, match=r"a\.weight holds NaN"):
        audit(save(tmp_path / "broken", tensors))


@pytest.mark.parametrize("shape", [(0,), (0, 4), (4, 0)])
def test_an_empty_tensor_is_named(tmp_path, shape):
    with pytest.raises(DrawplateError, match=r"a\.weight is empty"):
        audit(save(tmp_path / "empty", {"a.weight": torch.zeros(shape)}))


@pytest.mark.parametrize("name", ["a.weight_packed", "a.weight_scale", "a.weight_shape"])
def test_a_packed_weight_without_one_of_its_parts_is_named(base, tmp_path, name):
    from safetensors.torch import load_file

    child = quantized(base, tmp_path, (4, 4))
    tensors = load_file(child / "model.safetensors")
    del tensors[name]
    save_file(tensors, child / "model.safetensors")
    with pytest.raises(DrawplateError, match="a lacks a usable weight_packed"):
        audit(child)


@pytest.mark.parametrize("declared", ["int4", {"bits": 4}, ["x"], {"quant_method": 4}])
def test_an_odd_quantization_config_is_told(tmp_path, declared):
    torch.manual_seed(0)
    config = {"quantization_config": declared}
    with pytest.raises(DrawplateError, match="odd has the quantization_config"):
        audit(save(tmp_path / "odd", {"a.weight": torch.randn(4, 4)}, config))


def test_messages_name_the_finished_folder_or_what_they_are_told(tmp_path):
    from drawplate.artifacts.files import finished_folder

    broken = {"a.weight": torch.zeros(4, 4)}
    with (
        pytest.raises(DrawplateError, match=f"^{tmp_path}/base is broken"),
        finished_folder(tmp_path / "base") as scratch,
    ):
        audit(save(scratch, broken))
    with pytest.raises(DrawplateError, match=r"^pypi:tiny is broken"):
        audit(save(tmp_path / "other", broken), name="pypi:tiny")
