import torch
from tests.tiny_encoders import save_encoder, states, token_ids

from drawplate.layerwise.calibration import read_encoder_windows
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
