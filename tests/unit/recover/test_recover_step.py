import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny import digest
from tests.tiny_training import TRAINING, logits, new_folder
from transformers import BertConfig, BertModel

from drawplate.errors import DrawplateError
from drawplate.recover.options import RecoverOptions
from drawplate.recover.step import next_token_loss, recover_checkpoint, with_adapters
from drawplate.training import loop
from drawplate.training.model import open_model, write_model

CONFIG = TRAINING | {"kind": "recover", "method": "lora", "rank": 4, "alpha": 8}
IDS = torch.arange(40, 80).unsqueeze(0)


def recover(parent, data, output, **changes):
    folder, resume = new_folder(output)
    return recover_checkpoint(parent, data, folder, CONFIG | changes, resume, threads=1)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_loss_falls_on_text_it_has_not_seen(damaged, text_data, tmp_path, method):
    rate = {"lora": 2e-2, "full": 3e-3}[method]
    facts = recover(damaged, text_data, tmp_path / method, method=method, learning_rate=rate)
    assert facts["improved"]
    assert facts["held_out_loss_after_nats"] < facts["held_out_loss_before_nats"] - 0.5
    assert load_file(damaged / "model.safetensors").keys() == (
        load_file(tmp_path / method / "model.safetensors").keys()
    )
    config = (damaged / "config.json").read_bytes()
    assert (tmp_path / method / "config.json").read_bytes() == config


def test_adapters_change_every_linear_layer_and_nothing_else(damaged, text_data, tmp_path):
    facts = recover(damaged, text_data, tmp_path / "lora")
    before, after = (load_file(f / "model.safetensors") for f in (damaged, tmp_path / "lora"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "_proj" in name}
    # rank 4 beside q, o (64 to 64), k, v (64 to 32), gate, up and down (64 to 128), two layers
    assert facts["trained_parameters"] == 2 * 4 * (2 * 128 + 2 * 96 + 3 * 192)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_mlp_alone_learns_if_nothing_else_shall(damaged, text_data, tmp_path, method):
    facts = recover(damaged, text_data, tmp_path / method, method=method, trained="mlp")
    assert facts["improved"]
    before, after = (load_file(f / "model.safetensors") for f in (damaged, tmp_path / method))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if ".mlp." in name}
    # gate, up and down (64 to 128), two layers, whole or as rank 4
    assert facts["trained_parameters"] == 2 * 3 * (64 * 128 if method == "full" else 4 * 192)


def test_merged_weights_answer_as_the_adapters_did(damaged, tmp_path):
    options = RecoverOptions.from_config(CONFIG)
    model = with_adapters(open_model(damaged, "recover"), options)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # zero at first, so that nothing is changed
                parameter.normal_(std=0.1)
        expected = model(IDS).logits
    folder, _ = new_folder(tmp_path / "merged")
    write_model(damaged, folder, model.merge_and_unload())
    torch.testing.assert_close(logits(folder, IDS), expected, rtol=1e-4, atol=1e-4)
    assert (expected - logits(damaged, IDS)).std() > 0.1


def test_dtype_of_the_parent_is_kept(damaged, text_data, tmp_path):
    shutil.copytree(damaged, tmp_path / "half")
    halves = {n: t.bfloat16() for n, t in load_file(damaged / "model.safetensors").items()}
    save_file(halves, tmp_path / "half" / "model.safetensors", metadata={"format": "pt"})
    facts = recover(tmp_path / "half", text_data, tmp_path / "full", method="full", epochs=1)
    after = load_file(tmp_path / "full" / "model.safetensors")
    assert {t.dtype for t in after.values()} == {torch.bfloat16}
    assert facts["improved"]


def test_bfloat16_products_train_float32_weights(damaged, text_data, tmp_path):
    facts = recover(damaged, text_data, tmp_path / "a", method="full", precision="bfloat16")
    assert facts["improved"]
    assert facts["precision"] == "bfloat16"
    after = load_file(tmp_path / "a" / "model.safetensors").values()
    assert {t.dtype for t in after} == {torch.float32}


def test_loss_is_the_cross_entropy_of_transformers(damaged):
    model = open_model(damaged, "recover")
    with torch.no_grad():
        expected = model(IDS, labels=IDS).loss
        torch.testing.assert_close(next_token_loss(model, {"input_ids": IDS}), expected)


def test_killed_adapters_go_on_to_the_same_bits(damaged, text_data, tmp_path, monkeypatch):
    recover(damaged, text_data, tmp_path / "whole")
    monkeypatch.setattr(loop.Watch, "on_save", _die_after(loop.Watch.on_save, 5))
    monkeypatch.setattr("drawplate.training.watch.SECONDS_BETWEEN_SAVES", 0.0)
    with pytest.raises(KeyboardInterrupt):
        recover(damaged, text_data, tmp_path / "again")
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "again")
    facts = recover(damaged, text_data, tmp_path / "again")
    assert facts["resumed_after_step"] == 5
    assert digest(tmp_path / "again") == digest(tmp_path / "whole")


def test_encoder_is_refused(text_data, tmp_path):
    BertModel(BertConfig(num_hidden_layers=1)).save_pretrained(tmp_path / "bert")
    with pytest.raises(DrawplateError, match="is an encoder: leave the recover step out"):
        recover(tmp_path / "bert", text_data, tmp_path / "a")


def _die_after(save, step):
    def die(self, args, state, control, **rest):
        save(self, args, state, control, **rest)
        if state.global_step == step:
            raise KeyboardInterrupt

    return die
