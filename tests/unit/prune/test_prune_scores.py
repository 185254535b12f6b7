"""The mathematics against references in loops, and least squares against numpy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from drawplate.layerwise.moments import second_moment
from drawplate.layerwise.workers import workers
from drawplate.limits import kept_count
from drawplate.prune.compensate import refit, relative_error, widened
from drawplate.prune.cut import Cut, Fitted
from drawplate.prune.keep import (
    chosen_layers,
    keep_best,
    layers_to_keep,
    rows_of_groups,
)
from drawplate.prune.scores import (
    block_influence,
    channel_importance,
    channel_magnitude,
    group_importance,
    group_magnitude,
)
from drawplate.prune.shape import Shape, shrunk_config

GROUPS, WIDTH, HIDDEN, TOKENS = 3, 4, 5, 50


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def correlated():
    """Inputs whose features go together [tokens, features], and a weight that reads them."""
    return normal(400, 6, seed=1) @ normal(6, 12, seed=2) + 0.1 * normal(400, 12, seed=3), normal(
        HIDDEN, 12, seed=4
    )


def moment_of(inputs):
    return inputs.t() @ inputs / len(inputs)


def test_channel_importance_is_the_rms_of_what_a_channel_adds():
    inputs, down = normal(TOKENS, 12), normal(HIDDEN, 12, seed=1)
    scores = channel_importance(inputs.square().mean(dim=0), down)
    for channel in range(12):
        added = [
            sum((float(inputs[t, channel]) * float(down[h, channel])) ** 2 for h in range(HIDDEN))
            for t in range(TOKENS)
        ]
        assert float(scores[channel]) == pytest.approx(math.sqrt(sum(added) / TOKENS))


def test_channel_magnitude_is_the_product_of_norms_and_blind_to_rescaling():
    gate, up, down = normal(12, HIDDEN), normal(12, HIDDEN, seed=1), normal(HIDDEN, 12, seed=2)
    scores = channel_magnitude(gate, up, down)
    for c in range(12):
        norms = [math.hypot(*vector.tolist()) for vector in (gate[c], up[c], down[:, c])]
        assert float(scores[c]) == pytest.approx(math.prod(norms))
    torch.testing.assert_close(channel_magnitude(gate, up * 7, down / 7), scores)


def test_group_importance_is_the_rms_of_what_a_group_adds():
    inputs, output = normal(TOKENS, GROUPS * WIDTH), normal(HIDDEN, GROUPS * WIDTH, seed=1)
    scores = group_importance(moment_of(inputs), output, GROUPS)
    for group in range(GROUPS):
        columns = range(group * WIDTH, (group + 1) * WIDTH)
        squares = [
            sum(float(inputs[t, c]) * float(output[h, c]) for c in columns) ** 2
            for t in range(TOKENS)
            for h in range(HIDDEN)
        ]
        assert float(scores[group]) == pytest.approx(math.sqrt(sum(squares) / len(squares)))


def test_group_that_adds_nothing_scores_zero():
    output = normal(HIDDEN, GROUPS * WIDTH)
    output[:, :WIDTH] = 0
    scores = group_importance(moment_of(normal(TOKENS, GROUPS * WIDTH)), output, GROUPS)
    assert scores[0] == 0
    assert scores.isfinite().all()


def test_group_magnitude_is_the_product_of_norms():
    parts = [normal(GROUPS, 2 * WIDTH, HIDDEN), normal(GROUPS, WIDTH, HIDDEN, seed=1)]
    parts += [normal(GROUPS, WIDTH, HIDDEN, seed=2), normal(GROUPS, 2 * WIDTH, HIDDEN, seed=3)]
    scores = group_magnitude(*parts)
    for group in range(GROUPS):
        norms = [math.hypot(*part[group].flatten().tolist()) for part in parts]
        assert float(scores[group]) == pytest.approx(math.prod(norms))


def test_block_influence_against_loops_over_batches_of_unlike_size():
    before = [normal(2, 3, HIDDEN), normal(1, 3, HIDDEN, seed=1)]
    after = [batch + 0.5 * normal(*batch.shape, seed=2) for batch in before]
    cosines = []
    for entering, leaving in zip(before, after, strict=True):
        for a, b in zip(
            entering.flatten(0, 1).tolist(), leaving.flatten(0, 1).tolist(), strict=True
        ):
            dot = sum(x * y for x, y in zip(a, b, strict=True))
            cosines.append(dot / (math.hypot(*a) * math.hypot(*b)))
    expected = 1 - sum(cosines) / len(cosines)
    assert block_influence(before, after) == pytest.approx(expected)
    assert block_influence(before, [3 * batch for batch in before]) == pytest.approx(0)
    assert block_influence(before, [-batch for batch in before]) == pytest.approx(2)


def test_second_moment_against_numpy(monkeypatch):
    monkeypatch.setattr(
        "drawplate.layerwise.moments.BAND_ROWS", 5
    )  # more than one band, the last short
    batches = [normal(2, 7, 12).float(), normal(1, 7, 12, seed=1).float()]
    tokens = np.concatenate([batch.flatten(0, 1).double().numpy() for batch in batches])
    with workers(2) as pool:
        moment = second_moment(batches, pool)
    assert moment.dtype == torch.float64
    np.testing.assert_allclose(moment.numpy(), tokens.T @ tokens / len(tokens), atol=1e-6)


def test_refit_without_damping_is_numpy_lstsq(correlated):
    inputs, weight = correlated
    kept = torch.tensor([0, 2, 3, 7, 8, 11])
    fitted = refit(moment_of(inputs), weight, kept, damping=0.0)
    expected, *_ = np.linalg.lstsq(
        inputs[:, kept].numpy(), (inputs @ weight.t()).numpy(), rcond=None
    )
    np.testing.assert_allclose(fitted.numpy(), expected.T, atol=1e-8)


def test_refit_with_damping_is_numpy_lstsq_with_rows_that_pull_to_the_slice(correlated):
    inputs, weight = correlated
    kept, tokens = torch.tensor([1, 4, 5, 9]), len(inputs)
    squares = [float(inputs[:, k].square().mean()) for k in kept.tolist()]
    pull = math.sqrt(0.3 * sum(squares) / len(squares) * tokens) * np.eye(len(kept))
    left = np.concatenate([inputs[:, kept].numpy(), pull])
    right = np.concatenate([(inputs @ weight.t()).numpy(), pull @ weight[:, kept].t().numpy()])
    expected, *_ = np.linalg.lstsq(left, right, rcond=None)
    fitted = refit(moment_of(inputs), weight, kept, damping=0.3)
    np.testing.assert_allclose(fitted.numpy(), expected.T, atol=1e-8)


def test_refit_wins_back_what_other_channels_know(correlated):
    inputs, weight = correlated
    moment, kept = moment_of(inputs), torch.arange(8)
    fitted = relative_error(moment, weight, widened(refit(moment, weight, kept), kept, 12))
    sliced = relative_error(moment, weight, widened(weight[:, kept], kept, 12))
    assert fitted < 0.1 * sliced
    outputs, wide = inputs @ weight.t(), widened(weight[:, kept], kept, 12)
    lost = (outputs - inputs @ wide.t()).square().sum() / outputs.square().sum()
    assert sliced == pytest.approx(float(lost))


def test_refit_bears_inputs_that_are_always_zero():
    moment, weight = torch.zeros(4, 4, dtype=torch.float64), normal(HIDDEN, 4)
    kept = torch.tensor([0, 2])
    torch.testing.assert_close(refit(moment, weight, kept), weight[:, kept])
    assert relative_error(moment, weight, torch.zeros_like(weight)) == 0


@given(
    total=st.integers(1, 5000),
    share=st.floats(0, 1, exclude_max=True),
    multiple_of=st.integers(1, 256),
)
def test_kept_count_is_a_multiple_near_what_was_asked_and_never_zero(total, share, multiple_of):
    count = kept_count(total, share, multiple_of)
    assert 1 <= count <= total
    if share and total >= multiple_of:
        assert count % multiple_of == 0
        wanted = total * (1 - share)
        possible = range(multiple_of, total + 1, multiple_of)
        assert abs(count - wanted) <= min(abs(n - wanted) for n in possible) + 1e-6
    else:
        assert count == total


def test_kept_count_of_shares_that_floats_do_not_hold():
    assert kept_count(10, 0.3) == 7
    assert kept_count(3, 1 / 3) == 2
    assert kept_count(1536, 0.25, 32) == 1152


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.data())
def test_keep_best_keeps_the_best_in_their_order(scores, data):
    count = data.draw(st.integers(1, len(scores)))
    kept = keep_best(torch.tensor(scores, dtype=torch.float64), count).tolist()
    assert kept == sorted(set(kept))
    assert len(kept) == count
    gone = [scores[i] for i in range(len(scores)) if i not in kept]
    assert min(scores[i] for i in kept) >= max(gone, default=-9)


def test_first_and_last_layer_stay_whatever_their_influence():
    assert layers_to_keep([0.0, 0.5, 0.2, 0.9, 0.1, 0.0], remove=2) == [0, 1, 3, 5]
    assert layers_to_keep([0.0, 0.5, 0.0], remove=1) == [0, 2]


def test_chosen_layers_are_those_named_or_evenly_spaced():
    assert chosen_layers(12, [0, 3, 7], remove=9) == [0, 3, 7]
    assert chosen_layers(7, "even", remove=3) == [0, 2, 4, 6]
    assert chosen_layers(12, "even", remove=6) == [0, 2, 4, 7, 9, 11]
    assert chosen_layers(5, "even", remove=4) == [2]


def test_windows_of_qwen2_count_the_layers_that_stay():
    shape = Shape(layers=2, channels=4, groups=1, heads_per_group=2, head_dim=4, hidden=8)
    sizes = {"num_hidden_layers": 4, "hidden_size": 8}
    config = {**sizes, "max_window_layers": 2}
    assert shrunk_config(config, shape, [0, 3])["max_window_layers"] == 1
    assert shrunk_config(config | {"max_window_layers": 4}, shape, [0, 3])["max_window_layers"] == 2
    assert "max_window_layers" not in shrunk_config(sizes, shape, [0, 3])


@given(
    groups=st.integers(1, 4),
    heads_per_group=st.integers(1, 3),
    head_dim=st.sampled_from([2, 4]),
    channels=st.integers(1, 12),
    data=st.data(),
)
def test_cut_has_the_shapes_of_the_smaller_layer(groups, heads_per_group, head_dim, channels, data):
    shape = Shape(
        hidden=3,
        layers=1,
        channels=channels,
        groups=groups,
        heads_per_group=heads_per_group,
        head_dim=head_dim,
    )
    kept_groups = data.draw(st.integers(1, groups))
    kept_channels = data.draw(st.integers(1, channels))
    cut = Cut(
        groups=keep_best(normal(groups), kept_groups),
        channels=keep_best(normal(channels), kept_channels),
    )
    queries, keys = groups * heads_per_group * head_dim, groups * head_dim
    new_queries, new_keys = kept_groups * heads_per_group * head_dim, kept_groups * head_dim
    for name, old, new in (
        ("self_attn.q_proj.weight", (queries, 3), (new_queries, 3)),
        ("self_attn.q_proj.bias", (queries,), (new_queries,)),
        ("self_attn.k_proj.weight", (keys, 3), (new_keys, 3)),
        ("self_attn.v_proj.bias", (keys,), (new_keys,)),
        ("self_attn.o_proj.weight", (3, queries), (3, new_queries)),
        ("self_attn.o_proj.bias", (3,), (3,)),
        ("self_attn.q_norm.weight", (head_dim,), (head_dim,)),
        ("mlp.gate_proj.weight", (channels, 3), (kept_channels, 3)),
        ("mlp.up_proj.bias", (channels,), (kept_channels,)),
        ("mlp.down_proj.weight", (3, channels), (3, kept_channels)),
        ("mlp.down_proj.bias", (3,), (3,)),
        ("input_layernorm.weight", (3,), (3,)),
    ):
        part = cut.of(name, torch.zeros(old, dtype=torch.bfloat16), shape)
        assert tuple(part.shape) == new, name
        assert part.dtype == torch.bfloat16
        assert part.is_contiguous()


def test_rows_of_groups_against_loops():
    rows = rows_of_groups(torch.tensor([0, 2]), 3).tolist()
    assert rows == [group * 3 + row for group in (0, 2) for row in range(3)]


def test_facts_name_what_is_gone():
    shape = Shape(hidden=3, layers=1, channels=6, groups=3, heads_per_group=1, head_dim=2)
    fitted = Fitted(
        module="mlp.down_proj", weight=torch.zeros(2, 4), error=0.1, error_unfitted=0.25
    )
    cut = Cut(channels=torch.arange(4), groups=torch.tensor([0, 2]), fitted=(fitted,))
    assert cut.facts(7, shape) == {
        "layer": 7,
        "mlp_channels_removed": 2,
        "kv_groups_removed": [1],
        "relative_error": {"mlp.down_proj": 0.1},
        "relative_error_unfitted": {"mlp.down_proj": 0.25},
    }


def test_lists_with_an_entry_for_each_layer_keep_those_of_the_layers_that_stay():
    config = {
        "num_hidden_layers": 3,
        "layer_types": ["full_attention", "sliding_attention", "full_attention"],
        "no_rope_layers": [1, 1, 0],
        "eos_token_id": [1, 2, 3],
        "hidden_size": 8,
    }
    shape = Shape(hidden=8, layers=2, channels=4, groups=1, heads_per_group=2, head_dim=4)
    assert shrunk_config(config, shape, [0, 2]) == {
        "num_hidden_layers": 2,
        "layer_types": ["full_attention", "full_attention"],
        "no_rope_layers": [1, 0],
        "eos_token_id": [1, 2, 3],
        "hidden_size": 8,
        "intermediate_size": 4,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 4,
    }
