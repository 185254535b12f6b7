"""Folders for TensorRT-LLM: the form of ModelOpt's own export, the checkpoint's own numbers."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tests.tiny_engines import THREADS, rounded

from drawplate import engines
from drawplate.artifacts.files import read_json, write_json
from drawplate.checkpoint.files import open_tensors
from drawplate.checkpoint.quantized import read_quantized, write_quantized
from drawplate.engines.tensorrt_llm.form import check_form
from drawplate.engines.tensorrt_llm.modelopt import pack_rows, unpack_rows, write_int4
from drawplate.errors import DrawplateError

EXPORTED = Path(__file__).with_name("modelopt_int4_export.json")


@pytest.fixture
def int4(checkpoint, tmp_path: Path):
    """A function that rounds the untied tiny Llama: bits, group size, symmetric, with its head."""

    def save(bits: int = 4, group_size: int = 64, symmetric: bool = True, head: bool = False):
        parent = checkpoint("untied")
        tensors = open_tensors(parent)
        folder = tmp_path / f"int{bits}-{group_size}-{symmetric}-{head}"
        folder.mkdir()

        def entries():
            for name in tensors:
                linear = name.endswith("proj.weight") or (head and name == "lm_head.weight")
                weight, module = tensors[name].float(), name.removesuffix(".weight")
                if linear:
                    yield module, rounded(weight, bits, group_size, symmetric)
                else:
                    yield name, weight

        write_quantized(parent, folder, entries())
        return folder

    return save


def written(checkpoint: Path, dtype: str = "float16") -> Path:
    """As the engine's compile step does it: from the reference engine, which has a manifest."""
    source = checkpoint / "engines" / "transformers-cpu"
    source.mkdir(parents=True)
    label = engines.compiler("transformers")(checkpoint, source, {}, THREADS)
    write_json(source / "manifest.json", {"format": label})
    output = checkpoint.parent / f"{checkpoint.name}-served"
    output.mkdir()
    engines.further_compiler("tensorrt_llm")(source, output, {"dtype": dtype}, "sm90")
    return output


@settings(deadline=None, max_examples=25)
@given(rows=st.integers(1, 9), columns=st.integers(1, 70), seed=st.integers(0, 9))
def test_packing_is_undone_and_lies_as_modelopt_documents_it(rows, columns, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 16, (2 * rows, columns), dtype=torch.uint8, generator=generator)
    packed = pack_rows(codes)
    assert packed.shape == (rows, columns)
    assert torch.equal(unpack_rows(packed), codes)
    signed = codes.to(torch.int64) - 8
    low, high = signed[0::2] % 16, signed[1::2] % 16
    assert torch.equal(packed.to(torch.int64), low + 16 * high)


def test_every_number_is_the_checkpoints_own(int4) -> None:
    folder = written(parent := int4())
    stored = load_file(folder / "model.safetensors")
    for name, weight in read_quantized(parent).items():
        codes = unpack_rows(stored[f"{name}.weight"]).float() - 8
        scales = stored[f"{name}.weight_scale"].float().repeat_interleave(64, dim=1)
        assert torch.equal(codes * scales, weight.dequantize()), name
    checked = engines.check("tensorrt_llm", folder)
    assert checked == {"target": "sm90", "quant_algo": "W4A16_AWQ", "layers": 14}


def test_the_form_is_that_of_modelopts_own_export(int4) -> None:
    """The file beside this one lists what nvidia-modelopt exported of the same model; see there."""
    exported = json.loads(EXPORTED.read_text())
    folder = written(int4())
    ours = {
        name: [str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    assert ours == exported["tensors"]
    declared = read_json(folder / "hf_quant_config.json")["quantization"]
    assert declared == exported["quantization"]


def test_a_float_checkpoint_is_of_the_dtype_asked_for(checkpoint, tmp_path: Path) -> None:
    folder = written(engines_copy(checkpoint("tied"), tmp_path), "bfloat16")
    assert check_form(folder) == {"quant_algo": None, "layers": 0}
    assert {t.dtype for t in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}
    assert read_json(folder / "config.json")["dtype"] == "bfloat16"


def engines_copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint that engines may be written below."""
    import shutil

    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"symmetric": False}, "is int4, asymmetric, in groups of 64"),
        ({"group_size": 32}, "is int4, symmetric, in groups of 32"),
        ({"bits": 8}, "is int8"),
        ({"head": True}, "lm_head is quantized.*head_bits: 16"),
    ],
)
def test_grids_that_it_has_no_product_for_are_refused(form, said, int4, tmp_path: Path) -> None:
    with pytest.raises(DrawplateError, match=said):
        write_int4(int4(**form), tmp_path, "float16")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("layers.0.mlp.down_proj.pre_quant_scale", None, "pre_quant_scale is missing"),
        ("layers.1.self_attn.q_proj.weight_scale", None, "q_proj has no scales of"),
        ("layers.0.mlp.up_proj.weight", torch.int8, "up_proj.weight is int8"),
        ("layers.1.self_attn.k_proj.weight_scale", 0.0, "a scale that is not positive"),
    ],
)
def test_a_folder_it_would_not_load_is_named(name, change, said, int4) -> None:
    folder = written(int4())
    stored = load_file(folder / "model.safetensors")
    if change is None:
        del stored[f"model.{name}"]
    elif change == 0.0:
        stored[f"model.{name}"][3, 0] = 0
    else:
        stored[f"model.{name}"] = stored[f"model.{name}"].view(change)
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DrawplateError, match=said):
        check_form(folder)


def test_integers_that_its_reader_would_take_for_floats_are_refused(checkpoint, tmp_path) -> None:
    folder = written(engines_copy(checkpoint("tied"), tmp_path))
    config = read_json(folder / "config.json")
    weights = {"type": "int", "num_bits": 8, "strategy": "channel"}
    group = {"weights": weights, "input_activations": {"strategy": "token"}}
    declared = {"config_groups": {"group_0": group}, "ignore": ["lm_head"]}
    write_json(folder / "config.json", {**config, "quantization_config": declared})
    with pytest.raises(DrawplateError, match=r"the weights are \('int', 8, 'channel', 'token'\)"):
        check_form(folder)


def test_it_is_served_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(DrawplateError, match="trtllm-serve"):
        engines.load("tensorrt_llm", tmp_path, THREADS)
