"""The proxy on a tiny model, and the text it is measured on."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import sentences, write_calibration, write_model

from drawplate.artifacts.manifest import write_manifest
from drawplate.errors import DrawplateError
from drawplate.layerwise.calibration import read_token_ids
from drawplate.search.proxy import measure_proxy, unused_windows

IDS = torch.arange(1000)
readings = st.lists(st.tuples(st.integers(1, 6), st.sampled_from([16, 32, 50])), max_size=4)


@given(st.integers(1, 6), st.sampled_from([8, 20]), readings)
def test_windows_share_no_token_with_those_of_the_steps(windows, window_tokens, avoid) -> None:
    found = unused_windows(IDS, windows, window_tokens, avoid)
    assert found.shape == (windows, window_tokens)
    assert len(set(found.flatten().tolist())) == found.numel()
    assert bool((found.diff(dim=1) == 1).all()), "each is one piece of text"
    used = set()
    for count, tokens in avoid:
        places = torch.arange(count) * (len(IDS) // tokens) // count
        used |= {int(t) for p in places for t in range(p * tokens, (p + 1) * tokens)}
    assert not used & set(found.flatten().tolist())


def test_a_text_that_the_steps_use_up_is_told() -> None:
    with pytest.raises(DrawplateError, match=r"leave 0 windows of 16 .*the proxy needs 2"):
        unused_windows(IDS, 2, 16, [(20, 50)])


def write_checkpoint(folder: Path, seed: int) -> Path:
    write_model(folder, seed=seed)
    write_manifest(
        folder,
        kind="checkpoint",
        name=folder.name,
        parent=None,
        step=None,
        key={},
        tools={},
        command="",
        format=None,
        started=0.0,
    )
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("proxy")
    write_checkpoint(place / "base", 0)
    write_checkpoint(place / "other", 1)
    write_calibration(place / "data", sentences(200, 3))
    return place


def test_the_loss_is_the_divergence_in_float64(place) -> None:
    import transformers

    config = {"task": "causal-lm", "windows": 3, "window_tokens": 32, "avoid": [[2, 16]]}
    base = measure_proxy(place / "base", place / "base", place / "data", config, 1)
    assert base["loss"] == 0.0
    own = measure_proxy(place / "other", place / "base", place / "data", config, 1)
    text = place / "data/texts/calibration.jsonl"
    ids = read_token_ids(text, place / "base/tokenizer.json")
    windows = unused_windows(ids, 3, 32, [(2, 16)])
    logs = [
        transformers.LlamaForCausalLM.from_pretrained(place / name)(windows)
        .logits.double()
        .log_softmax(-1)
        for name in ("base", "other")
    ]
    expected = (logs[0].exp() * (logs[0] - logs[1])).sum(-1).mean().item()
    assert own["loss"] == pytest.approx(expected, rel=1e-5)
    assert own["bytes"] >= (place / "other/model.safetensors").stat().st_size
    assert own["tokens"] == 96
