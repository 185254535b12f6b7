"""Labels of handmade tensors: what each form of compressed-tensors looks like on disk."""

import json

import pytest
import torch
from safetensors.torch import save_file

from drawplate.artifacts.audit import audit
from drawplate.artifacts.formats import activations
from drawplate.artifacts.sparsity import check_zeros
from drawplate.errors import DrawplateError

ROWS, COLUMNS = 32, 64
TOKEN = {"strategy": "token", "dynamic": True}
STATIC = {"type": "int", "num_bits": 8, "strategy": "tensor", "dynamic": False}
NVFP4 = {"type": "float", "num_bits": 4, "strategy": "tensor_group", "group_size": 16}


def random_bytes(*shape, dtype=torch.uint8):
    torch.manual_seed(0)
    return torch.randint(-128, 127, shape, dtype=torch.int8).view(dtype)


def int8():
    return {
        "a.weight": random_bytes(ROWS, COLUMNS, dtype=torch.int8),
        "a.weight_scale": torch.rand(ROWS, 1),
    }


def float8():
    return {
        "a.weight": torch.randn(ROWS, COLUMNS).to(torch.float8_e4m3fn),
        "a.weight_scale": torch.rand(ROWS, 1),
    }


def nvfp4():
    return {
        "a.weight_packed": random_bytes(ROWS, COLUMNS // 2),
        "a.weight_scale": torch.rand(ROWS, COLUMNS // 16).to(torch.float8_e4m3fn),
        "a.weight_global_scale": torch.tensor([7.0]),
        "a.input_global_scale": torch.tensor([3.0]),
    }


def int4():
    return {
        "a.weight_packed": random_bytes(ROWS, COLUMNS // 2).view(torch.int32),
        "a.weight_scale": torch.rand(ROWS, COLUMNS // 32),
        "a.weight_shape": torch.tensor([ROWS, COLUMNS]),
    }


FORMS = {
    "int-quantized": (int8, "int8", None, {"type": "int", "num_bits": 8, **TOKEN}),
    "float-quantized": (float8, "float8", None, {"type": "float", "num_bits": 8, **TOKEN}),
    "nvfp4-pack-quantized": (nvfp4, "nvfp4", 16, {**NVFP4, "dynamic": "local"}),
    "pack-quantized": (int4, "int4", 32, None),
}
WORDS = {
    "int-quantized": "int8 dynamic",
    "float-quantized": "float8 dynamic",
    "nvfp4-pack-quantized": "nvfp4 dynamic",
}


def save(folder, tensors, form=None, input_activations=None):
    folder.mkdir(exist_ok=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "m.safetensors"
    )
    groups = {"group_0": {"input_activations": input_activations, "weights": {}}}
    declared = {"quant_method": "compressed-tensors", "format": form, "config_groups": groups}
    config = {"quantization_config": declared} if form else {}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_told_from_its_tensors(form, tmp_path):
    make, dtype, group_size, input_activations = FORMS[form]
    tensors = make() | {"norm.weight": torch.ones(COLUMNS)}
    label = audit(save(tmp_path / "made", tensors, form, input_activations))
    assert (label["weights_dtype"], label["group_size"]) == (dtype, group_size)
    assert label["quantization_method"] == f"compressed-tensors {form}"
    assert label.get("activations") == WORDS.get(form)
    stored = 8 * sum(tensor.nbytes for tensor in tensors.values())
    assert label["bits_per_weight"] == round(stored / (ROWS * COLUMNS + COLUMNS), 4)


@pytest.mark.parametrize("form", FORMS)
def test_a_weight_without_its_scale_is_broken(form, tmp_path):
    tensors = FORMS[form][0]()
    del tensors["a.weight_scale"]
    if form in ("int-quantized", "float-quantized"):
        tensors["a.weight_zero_point"] = torch.zeros(ROWS, 1)
    with pytest.raises(DrawplateError, match="a lacks a usable weight_packed"):
        audit(save(tmp_path / "made", tensors, form))


def test_nvfp4_without_its_global_scale_is_broken(tmp_path):
    tensors = nvfp4()
    del tensors["a.weight_global_scale"]
    with pytest.raises(DrawplateError, match="a lacks a usable weight_packed"):
        audit(save(tmp_path / "made", tensors, "nvfp4-pack-quantized"))


def test_a_dead_scale_is_named_in_every_form(tmp_path):
    tensors = nvfp4() | {"a.weight_global_scale": torch.zeros(1)}
    with pytest.raises(DrawplateError, match=r"a\.weight_global_scale is zero throughout"):
        audit(save(tmp_path / "made", tensors, "nvfp4-pack-quantized"))


def test_static_activations_are_named_and_their_scales_are_no_parameters(tmp_path):
    tensors = int8() | {"a.input_scale": torch.tensor([0.5]), "b.weight": torch.randn(4, 4)}
    label = audit(save(tmp_path / "made", tensors, "int-quantized", STATIC))
    assert label["activations"] == "int8 static"
    stored = 8 * sum(tensor.nbytes for tensor in tensors.values())
    assert label["bits_per_weight"] == round(stored / (ROWS * COLUMNS + 16), 4)


def test_weights_alone_name_no_activations():
    assert activations({}) is None
    assert activations({"config_groups": {"group_0": {"input_activations": None}}}) is None


def with_zeros(pattern, rows=8):
    """A matrix of ones and zeros whose rows repeat a pattern."""
    return torch.tensor(pattern, dtype=torch.float32).repeat(rows, 16 // len(pattern))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ([1, 0, 0, 1], {"zeros": 0.5, "two_of_four": True}),
        ([1, 0, 0, 0], {"zeros": 0.75, "two_of_four": True}),
        ([1, 1, 1, 0, 0, 0, 0, 1], {"zeros": 0.5, "two_of_four": False}),
        ([1, 1, 1, 2], None),
    ],
)
def test_zeros_are_counted_by_fours(pattern, expected, tmp_path):
    tensors = {
        "layers.0.q_proj.weight": with_zeros(pattern),
        "model.embed_tokens.weight": torch.eye(16),
        "lm_head.weight": torch.eye(16).clone(),
        "norm.weight": torch.ones(16),
    }
    assert audit(save(tmp_path / "made", tensors)).get("sparsity") == expected


@pytest.mark.parametrize(
    ("pattern", "sparsity", "declared", "complaint"),
    [
        ([1, 0, 0, 1], 0.6, "unstructured", "50.0% of the linear weights are zero, 60.0% declared"),
        ([1, 1, 1, 2], 0.5, "unstructured", "0.0% of the linear weights are zero"),
        ([1, 1, 1, 0, 0, 0, 0, 1], 0.5, "2:4", "1 of 1 matrices have fewer than two zeros"),
    ],
)
def test_zeros_that_were_not_declared_are_refused(pattern, sparsity, declared, complaint, tmp_path):
    folder = save(tmp_path / "made", {"q_proj.weight": with_zeros(pattern)})
    with pytest.raises(DrawplateError, match=complaint):
        check_zeros(folder, sparsity, declared)


def test_zeros_as_declared_are_counted(tmp_path):
    folder = save(tmp_path / "made", {"q_proj.weight": with_zeros([1, 0, 0, 1])})
    assert check_zeros(folder, 0.5, "2:4") == {"zeros": 0.5, "two_of_four": True}
