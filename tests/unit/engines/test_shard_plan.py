"""Cutting a Llama model for several ranks, and joining it again."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drawplate.engines.tensor_parallel.plan import (
    Cut,
    Widths,
    check_ranks,
    cut,
    fits,
    is_replica,
    join,
    padded_rows,
    plan_cuts,
)
from drawplate.errors import DrawplateError

LAYER = "model.layers.0."


def shapes(widths: Widths, vocabulary: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """Every kind of tensor that a Llama checkpoint may hold, biases included."""
    query = widths.attention_heads * widths.head_dim
    shared = widths.key_value_heads * widths.head_dim
    wide = widths.intermediate
    attention, mlp = LAYER + "self_attn.", LAYER + "mlp."
    return {
        "model.embed_tokens.weight": (vocabulary, hidden),
        attention + "q_proj.weight": (query, hidden),
        attention + "q_proj.bias": (query,),
        attention + "k_proj.weight": (shared, hidden),
        attention + "v_proj.weight": (shared, hidden),
        attention + "v_proj.bias": (shared,),
        attention + "o_proj.weight": (hidden, query),
        attention + "o_proj.bias": (hidden,),
        mlp + "gate_proj.weight": (wide, hidden),
        mlp + "up_proj.weight": (wide, hidden),
        mlp + "up_proj.bias": (wide,),
        mlp + "down_proj.weight": (hidden, wide),
        LAYER + "input_layernorm.weight": (hidden,),
        LAYER + "post_attention_layernorm.weight": (hidden,),
        "model.norm.weight": (hidden,),
        "lm_head.weight": (vocabulary, hidden),
    }


@st.composite
def models(draw):
    """Widths, a number of ranks that fits them, vocabulary and hidden size."""
    ranks = draw(st.integers(1, 6))
    shared = draw(
        st.integers(1, 3).map(lambda n: n * ranks)
        | st.sampled_from([n for n in range(1, ranks + 1) if ranks % n == 0])
    )
    several = max(1, ranks // shared)
    heads = shared * several * draw(st.integers(1, 3))
    widths = Widths(heads, shared, 2 * draw(st.integers(1, 3)), ranks * draw(st.integers(1, 5)))
    return widths, ranks, draw(st.integers(1, 40)), draw(st.integers(1, 9))


def random_bits(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Any bit pattern, NaN and infinity too."""
    size = torch.empty(0, dtype=dtype).element_size()
    return torch.randint(0, 256, (*shape[:-1], shape[-1] * size), dtype=torch.uint8).view(dtype)


def same_bits(one: torch.Tensor, two: torch.Tensor) -> bool:
    return one.shape == two.shape and torch.equal(
        one.contiguous().view(torch.uint8), two.contiguous().view(torch.uint8)
    )


@settings(max_examples=60, deadline=None)
@given(models(), st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
def test_join_of_the_pieces_is_the_tensor_bit_for_bit(model, dtype):
    widths, ranks, vocabulary, hidden = model
    for name, where in plan_cuts(shapes(widths, vocabulary, hidden), widths, ranks).items():
        whole = random_bits(shapes(widths, vocabulary, hidden)[name], dtype)
        pieces = [cut(whole, where, rank) for rank in range(ranks)]
        assert same_bits(join(pieces, where), whole)
        # Bytes add up: those of the tensor, and those of the replicas.
        kept = [p.nbytes for rank, p in enumerate(pieces) if not is_replica(where, rank)]
        assert sum(kept) == whole.nbytes


@settings(max_examples=60, deadline=None)
@given(models())
def test_every_rank_has_the_key_value_heads_its_query_heads_ask(model):
    widths, ranks, vocabulary, hidden = model
    cuts = plan_cuts(shapes(widths, vocabulary, hidden), widths, ranks)
    group = widths.attention_heads // widths.key_value_heads
    for rank in range(ranks):
        query = [n // widths.head_dim for n in cuts[LAYER + "self_attn.q_proj.weight"].ranges[rank]]
        held = [n // widths.head_dim for n in cuts[LAYER + "self_attn.k_proj.weight"].ranges[rank]]
        asked = [head // group for head in range(*query)]
        local_group = len(asked) // len(range(*held))
        assert [held[0] + n // local_group for n in range(len(asked))] == asked


def test_matrices_are_cut_as_megatron_does():
    widths = Widths(attention_heads=4, key_value_heads=2, head_dim=8, intermediate=12)
    cuts = plan_cuts(shapes(widths, 11, 16), widths, 2)
    assert cuts[LAYER + "self_attn.q_proj.weight"] == Cut(0, ((0, 16), (16, 32)))
    assert cuts[LAYER + "self_attn.v_proj.bias"] == Cut(0, ((0, 8), (8, 16)))
    assert cuts[LAYER + "self_attn.o_proj.weight"] == Cut(1, ((0, 16), (16, 32)))
    assert cuts[LAYER + "mlp.down_proj.weight"] == Cut(1, ((0, 6), (6, 12)))
    assert cuts["lm_head.weight"] == Cut(0, ((0, 6), (6, 11)))
    assert cuts["model.norm.weight"] == cuts[LAYER + "self_attn.o_proj.bias"] == Cut(None, ())
    assert padded_rows(11, 2) == 6


def test_fewer_key_value_heads_than_ranks_are_held_several_times():
    widths = Widths(attention_heads=8, key_value_heads=2, head_dim=4, intermediate=8)
    where = plan_cuts(shapes(widths, 8, 8), widths, 4)[LAYER + "self_attn.k_proj.weight"]
    assert where.ranges == ((0, 4), (0, 4), (4, 8), (4, 8))
    assert [is_replica(where, rank) for rank in range(4)] == [False, True, False, True]


@pytest.mark.parametrize("ranks", [-1, 0, 2, 4, 9, 18])
def test_ranks_that_do_not_divide_are_refused_with_those_that_do(ranks):
    smollm2 = Widths(attention_heads=9, key_value_heads=3, head_dim=64, intermediate=1536)
    with pytest.raises(DrawplateError, match=r"9 attention heads.*set ranks to 1 or 3$"):
        check_ranks(smollm2, ranks)
    assert fits(smollm2, 3)


def test_a_tensor_of_another_model_is_refused():
    widths = Widths(4, 2, 8, 12)
    with pytest.raises(DrawplateError, match=r"experts\.0\.w1\.weight"):
        plan_cuts({LAYER + "experts.0.w1.weight": (4, 4)}, widths, 2)
    with pytest.raises(DrawplateError, match=r"has 10 features, its config\.json says 12"):
        plan_cuts({LAYER + "mlp.up_proj.weight": (10, 4)}, widths, 2)
