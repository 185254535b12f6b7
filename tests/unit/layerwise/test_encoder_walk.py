import pytest
import torch
from tests.tiny_encoders import save_encoder, states, token_ids
from transformers import MPNetConfig, MPNetModel, RobertaConfig, RobertaModel

from drawplate.errors import DrawplateError
from drawplate.layerwise.calibration import read_encoder_windows, read_windows
from drawplate.layerwise.encoder import UNITS, check_walk, open_encoder, walk_layer
from drawplate.layerwise.workers import workers


def test_walking_all_layers_gives_the_model(encoder_base):
    encoder, hidden, seen = open_encoder(encoder_base), None, []
    with torch.no_grad(), workers(2) as pool:
        check_walk(encoder, token_ids(), pool)
        hidden = list(encoder.embed(token_ids()).split(1))
        for index in range(encoder.layers):
            layer = encoder.layer(index)
            for unit, inputs in walk_layer(layer, hidden, pool):
                widths = {layer.get_submodule(m).in_features for m in UNITS[unit]}
                assert {batch.shape[-1] for batch in inputs} == widths
                seen.append(unit)
    torch.testing.assert_close(torch.cat(hidden), states(encoder_base, token_ids()))
    assert seen == list(UNITS) * 3


def test_names_may_begin_with_the_class(encoder_base, tmp_path):
    from safetensors.torch import load_file, save_file

    save_encoder(tmp_path / "named")
    path = tmp_path / "named" / "model.safetensors"
    tensors = {f"bert.{name}": tensor for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})
    encoder, plain = open_encoder(tmp_path / "named"), open_encoder(encoder_base)
    assert encoder.prefix == "bert.encoder.layer."
    torch.testing.assert_close(encoder.embed(token_ids()), plain.embed(token_ids()))


def test_windows_stand_between_special_tokens_and_hold_no_padding(encoder_base, encoder_data):
    texts = encoder_data / "texts" / "calibration.jsonl"
    windows = read_encoder_windows(texts, encoder_base / "tokenizer.json", 12, 50)
    assert windows.shape == (12, 50)
    assert (windows[:, 0] == 1).all()
    assert (windows[:, -1] == 2).all()
    assert (windows[:, 1:-1] > 2).all()


def test_roberta_has_the_same_layers_and_other_positions(tmp_path):
    config = RobertaConfig(
        vocab_size=300,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        pad_token_id=1,
    )
    RobertaModel(config).eval().save_pretrained(tmp_path)
    encoder = open_encoder(tmp_path)
    with torch.no_grad(), workers(1) as pool:
        check_walk(encoder, token_ids(), pool)
        hidden = [encoder.embed(token_ids())]
        for index in range(encoder.layers):
            for _ in walk_layer(encoder.layer(index), hidden, pool):
                pass
    torch.testing.assert_close(hidden[0], states(tmp_path, token_ids()))


def test_other_encoders_are_refused(tmp_path):
    config = MPNetConfig(vocab_size=60, hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    MPNetModel(config).save_pretrained(tmp_path)
    with pytest.raises(
        DrawplateError, match=r"a MPNetModel, no encoder of the BERT .*: leave prune"
    ):
        open_encoder(tmp_path)


def test_windows_without_room_for_text_are_refused(encoder_base, encoder_data):
    texts, tokenizer = encoder_data / "texts" / "calibration.jsonl", encoder_base / "tokenizer.json"
    with pytest.raises(DrawplateError, match=r"beside 2 special tokens: write window_tokens: 3"):
        read_encoder_windows(texts, tokenizer, 1, 2)
    with pytest.raises(DrawplateError, match=r"^windows of 0 tokens hold no text: raise window_t"):
        read_windows(texts, tokenizer, 1, 0)
