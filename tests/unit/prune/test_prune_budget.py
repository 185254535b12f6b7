"""Targets in parameters and decoding speed against models that are built and counted."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from drawplate.errors import DrawplateError
from drawplate.prune.budget import Sizes, chosen, predicted
from drawplate.prune.options import PruneOptions
from drawplate.targets import speedup

LLAMA = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def built(**changes):
    with torch.device("meta"):
        return LlamaForCausalLM(LlamaConfig(**LLAMA | changes))


def sizes_of(model, bytes_per_parameter=4):
    return Sizes.of(model, bytes_per_parameter)


def gain(sizes, channels, layers, options):
    return speedup(sizes.counts, sizes.counts.left(channels, layers), vars(options))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_parameters_of_smaller_models_are_those_counted(tied, bias):
    changes = {"tie_word_embeddings": tied, "mlp_bias": bias, "attention_bias": bias}
    sizes = sizes_of(built(**changes))
    for channels, layers in ((256, 6), (160, 6), (256, 3), (64, 2)):
        small = built(**changes, intermediate_size=channels, num_hidden_layers=layers)
        assert sizes.counts.left(channels, layers).parameters == small.num_parameters()


def test_a_token_reads_all_but_an_untied_embedding():
    options = PruneOptions(bandwidth_gb_per_s=2.0, layer_overhead_ms=0.5)
    model = built(tie_word_embeddings=False)
    read = model.num_parameters() - model.model.embed_tokens.weight.numel()
    assert sizes_of(model, 2).counts.token_ms(vars(options)) == pytest.approx(read * 2 / 2e6 + 3)
    tied = built(tie_word_embeddings=True)
    expected = tied.num_parameters() * 4 / 2e6 + 3
    assert sizes_of(tied).counts.token_ms(vars(options)) == pytest.approx(expected)


@given(
    target=st.floats(0.2, 0.999),
    direction=st.sampled_from(["width", "depth"]),
    multiple_of=st.sampled_from([1, 16, 32]),
    is_count=st.booleans(),
)
def test_parameters_are_met_by_the_least_removal(target, direction, multiple_of, is_count):
    sizes = sizes_of(built())
    whole = sizes.counts.parameters
    limit = int(target * whole) if is_count else target
    options = PruneOptions(target_parameters=limit, direction=direction, multiple_of=multiple_of)
    try:
        picked = chosen(sizes, options)
    except DrawplateError as error:
        least = (
            sizes.counts.left(256, 2).parameters
            if direction == "depth"
            else sizes.counts.left(multiple_of, 6).parameters
        )
        assert target * whole < least
        other = sizes.counts.left(*((multiple_of, 6) if direction == "depth" else (256, 2)))
        if other.parameters <= target * whole:
            assert str(error).endswith("which can")
            turned = {"depth": "width", "width": "depth"}[direction]
            chosen(sizes, dataclasses.replace(options, direction=turned))
        else:
            assert f"write at least {least}" in str(error)
        return
    shape = sizes.shape.shrunk(picked)
    parameters = sizes.counts.left(shape.channels, shape.layers).parameters
    assert parameters <= target * whole
    if direction == "width":
        assert shape.layers == 6
        assert sizes.counts.left(shape.channels + multiple_of, 6).parameters > int(target * whole)
    else:
        assert shape.channels == 256
        assert sizes.counts.left(256, shape.layers + 1).parameters > int(target * whole)


@given(target=st.floats(1.01, 3), direction=st.sampled_from(["width", "depth"]))
def test_speed_is_met_by_the_least_removal(target, direction):
    sizes = sizes_of(built())
    options = PruneOptions(
        target_decode_speedup=target, direction=direction, multiple_of=8, bandwidth_gb_per_s=30
    )
    options_free = PruneOptions(bandwidth_gb_per_s=30)
    try:
        shape = sizes.shape.shrunk(chosen(sizes, options))
    except DrawplateError as error:
        channels, layers = (256, 2) if direction == "depth" else (8, 6)
        assert "out of reach" in str(error)
        assert gain(sizes, channels, layers, options_free) < target
        return
    assert gain(sizes, shape.channels, shape.layers, options) >= target
    more = (shape.channels, shape.layers + 1)
    if direction == "width":
        more = (shape.channels + 8, shape.layers)
    assert gain(sizes, *more, options) < target


def test_what_was_chosen_is_told_with_its_prediction():
    options = PruneOptions(target_parameters=0.6)
    model = built()
    sizes = sizes_of(model)
    shape = sizes.shape.shrunk(chosen(sizes, options))
    small = built(intermediate_size=shape.channels)
    told = predicted(sizes, options, sizes_of(small))
    assert told["parameters"] == small.num_parameters()
    assert told["parameters_share"] == pytest.approx(
        small.num_parameters() / model.num_parameters(), abs=1e-6
    )
    assert told["target_parameters"] == 0.6
    assert told["mlp_channels"] == shape.channels
    assert told["predicted_decode_speedup"] > 1


def test_without_a_target_nothing_changes():
    options = PruneOptions(mlp_share=0.25)
    assert chosen(sizes_of(built()), options) is options


def test_a_target_that_the_parent_meets_is_refused():
    with pytest.raises(DrawplateError, match="meets the target as it is: leave the prune step out"):
        chosen(sizes_of(built()), PruneOptions(target_parameters=10**9))
