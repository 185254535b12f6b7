"""What an engine cannot do, told in one line."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from drawplate import engines
from drawplate.checkpoint.tensors import QuantizedTensor
from drawplate.engines.placement import Placement, concatenate, pack_nibbles
from drawplate.errors import DrawplateError

ENGINES = ("onnxruntime", "openvino", "llamacpp")


def ramp(rows: int, bits: int, group_size: int) -> QuantizedTensor:
    torch.manual_seed(rows)
    shape = (rows, 64 // group_size)
    return QuantizedTensor(
        codes=torch.randint(0, 2**bits, (rows, 64), dtype=torch.uint8),
        scales=torch.rand(shape) + 0.1,
        zero_points=torch.randint(0, 2**bits, shape, dtype=torch.uint8),
        bits=bits,
        group_size=group_size,
    )


def compile_into(folder, engine, checkpoint, **options):
    folder.mkdir()
    return engines.compiler(engine)(checkpoint, folder, options, 2)


@pytest.mark.parametrize("engine", (*ENGINES, "transformers"))
def test_unknown_option(engine, checkpoint, tmp_path):
    with pytest.raises(DrawplateError, match="no option 'presision'"):
        compile_into(tmp_path / "engine", engine, checkpoint("tied"), presision="f32")


@pytest.mark.parametrize("engine", ENGINES)
def test_missing_weights(engine, copied):
    folder = copied(engine, "tied")
    weights = max((p for p in folder.iterdir()), key=lambda p: p.stat().st_size)
    weights.unlink()
    with pytest.raises(DrawplateError, match=weights.name):
        engines.load(engine, folder, 2)


def test_reference_refuses_another_checkpoint(checkpoint, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(checkpoint("tied"), folder)
    (folder / "manifest.json").write_text('{"digest": "1"}')
    engine = folder / "engines" / "transformers-cpu"
    engine.parent.mkdir()
    compile_into(engine, "transformers", folder)
    moved = folder.rename(tmp_path / "elsewhere")
    engines.load("transformers", moved / "engines" / "transformers-cpu", 2)
    (moved / "manifest.json").write_text('{"digest": "2"}')
    with pytest.raises(DrawplateError, match="compile it again"):
        engines.load("transformers", moved / "engines" / "transformers-cpu", 2)


@pytest.mark.parametrize("name", ["tied", "untied-int4", "bert"])
def test_reference_refuses_what_it_would_fill_in(name, checkpoint, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(checkpoint(name), folder)
    engines.load("transformers", folder, 2)
    tensors = load_file(folder / "model.safetensors")
    norm = next(n for n in tensors if "layernorm.weight" in n.lower())
    whole = tensors.pop(norm)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(DrawplateError, match=f"{norm} is missing"):
        engines.load("transformers", folder, 2)
    save_file(tensors | {norm: whole[:5].clone()}, folder / "model.safetensors")
    with pytest.raises(DrawplateError, match=rf"{norm} has shape \[5\].* wants \[64\]"):
        engines.load("transformers", folder, 2)


class TestPlacement:
    def test_finds_modules_below_each_other(self):
        one, two = ramp(8, 4, 32), ramp(16, 4, 32)
        placement = Placement({"one": one, "two": two})
        weight = torch.cat([two.dequantize(), one.dequantize()]).numpy()
        found = placement.find(weight)
        assert torch.equal(found.codes, torch.cat([two.codes, one.codes]))
        placement.check_complete()

    def test_refuses_a_half_quantized_group(self):
        one = ramp(8, 4, 32)
        weight = torch.cat([one.dequantize(), torch.ones(8, 64)]).numpy()
        with pytest.raises(DrawplateError, match="rows 8 to 16"):
            Placement({"one": one}).find(weight)

    def test_refuses_a_module_that_is_not_there(self):
        placement = Placement({"one": ramp(8, 4, 32)})
        assert placement.find(torch.ones(8, 64).numpy()) is None
        with pytest.raises(DrawplateError, match="one"):
            placement.check_complete()

    def test_concatenation_of_grids_changes_no_value(self):
        parts = [ramp(8, 4, 64), ramp(16, 8, 16), ramp(4, 4, 32)]
        whole = concatenate(parts)
        assert (whole.bits, whole.group_size) == (8, 16)
        expected = torch.cat([part.dequantize() for part in parts])
        assert torch.equal(whole.dequantize(), expected)

    def test_nibbles_are_packed_low_half_first(self):
        packed = pack_nibbles(torch.tensor([[1, 2, 15]], dtype=torch.uint8).numpy())
        assert packed.tolist() == [[0x21, 0x0F]]
