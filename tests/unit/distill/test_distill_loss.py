import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drawplate.distill.hidden import depths, hidden_distance, layer_map, rms_normalized
from drawplate.distill.loss import distillation_loss, top_k_divergence


def answers(teacher_logits, k, temperature=1.0):
    log_probs = (teacher_logits / temperature).log_softmax(-1)
    top = log_probs.topk(k)
    rest = log_probs.scatter(-1, top.indices, -torch.inf).logsumexp(-1)
    return top.indices, top.values, rest


def pair(seed=0, scale=2.0, shape=(3, 4, 20)):
    generator = torch.Generator().manual_seed(seed)
    make = lambda: scale * torch.randn(shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return make(), make()


def loop_divergence(teacher, student, k):
    """One position, by the definition, in Python floats."""
    p = [math.exp(x) for x in teacher.tolist()]
    q = [math.exp(x) for x in student.tolist()]
    p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
    best = sorted(range(len(p)), key=lambda i: -p[i])[:k]
    total = sum(p[i] * math.log(p[i] / q[i]) for i in best)
    rest = [i for i in range(len(p)) if i not in best]
    if rest:
        p_rest, q_rest = sum(p[i] for i in rest), sum(q[i] for i in rest)
        total += p_rest * math.log(p_rest / q_rest)
    return total


@pytest.mark.parametrize("k", [1, 5, 19, 20])
def test_divergence_is_that_of_a_loop(k):
    teacher, student = pair()
    found = top_k_divergence(student, *answers(teacher, k))
    for place in [(0, 0), (2, 3), (1, 2)]:
        expected = loop_divergence(teacher[place], student[place], k)
        assert float(found[place]) == pytest.approx(expected, rel=1e-12)


def test_whole_vocabulary_gives_the_whole_divergence():
    teacher, student = pair()
    found = top_k_divergence(student, *answers(teacher, 20))
    logs = teacher.log_softmax(-1), student.log_softmax(-1)
    expected = (logs[0].exp() * (logs[0] - logs[1])).sum(-1)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 19), st.floats(0.1, 20))
def test_merging_classes_never_raises_the_divergence(seed, k, scale):
    teacher, student = pair(seed, scale, (20,))
    parts = top_k_divergence(student, *answers(teacher, k))
    whole = top_k_divergence(student, *answers(teacher, 20))
    assert -1e-9 <= float(parts) <= float(whole) + 1e-9


@pytest.mark.parametrize("k", [3, 20])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_gradient_is_that_of_finite_differences(k, temperature):
    teacher, student = pair(shape=(2, 20))
    stored = answers(teacher, k, temperature)
    loss = lambda logits: distillation_loss(logits, *stored, temperature)  # noqa: E731
    assert torch.autograd.gradcheck(loss, student.requires_grad_(), eps=1e-6, atol=1e-8)


def test_temperature_squared_scales_the_loss():
    teacher, student = pair()
    stored = answers(teacher, 5, 3.0)
    expected = 9 * top_k_divergence(student / 3, *stored).mean()
    assert float(distillation_loss(student, *stored, 3.0)) == pytest.approx(float(expected))


def test_rest_keeps_its_gradient_where_the_student_gives_it_next_to_nothing():
    student = torch.zeros(20)
    student[0] = 40.0  # the others hold e^-40 each: one minus the best is 0 in float32
    teacher = torch.zeros(20, dtype=torch.float64)
    teacher[0] = 0.1
    stored = answers(teacher, 1)
    gradients = []
    for dtype in (torch.float32, torch.float64):
        logits = student.to(dtype, copy=True).requires_grad_()
        loss = top_k_divergence(logits, stored[0], *(s.to(dtype) for s in stored[1:]))
        loss.backward()
        assert loss.isfinite()
        gradients.append(logits.grad.double())
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-7)
    assert (gradients[0][1:] < -0.04).all()


def test_depths_are_even_and_end_behind_the_last_layer():
    assert depths(30, 4) == [8, 15, 23, 30]
    assert depths(22, 4) == [6, 11, 17, 22]
    assert depths(3, 3) == [1, 2, 3]
    assert depths(2, 1) == [2]
    assert depths(30, 0) == []


def test_layers_of_another_model_are_mapped_by_relative_depth():
    assert layer_map(22, 4, None) == [(6, 0), (11, 1), (17, 2), (22, 3)]


def test_layers_of_the_teacher_go_on_from_the_state_they_were_trained_on():
    # Of 12 layers every second one stays: after the first two of the teacher's, one is passed.
    assert layer_map(6, 6, [0, 2, 4, 6, 8, 10, 12]) == [(i + 1, i) for i in range(6)]
    assert layer_map(6, 3, [0, 2, 4, 6, 8, 10, 12]) == [(2, 0), (4, 1), (6, 2)]
    # Layers 2 to 9 are gone: the state before layer 10 is that after 10 layers, not that after 4.
    assert layer_map(4, 6, [0, 1, 10, 11, 12]) == [(2, 4), (4, 5)]
    # The first three are gone: no state of the student stands for the one after two layers.
    assert layer_map(9, 6, [3, 4, 5, 6, 7, 8, 9, 10, 11, 12])[0] == (1, 1)


@given(st.integers(1, 12), st.data())
def test_layer_map_rises_and_ends_with_both_models(total, data):
    kept = sorted(data.draw(st.sets(st.integers(0, total - 1), min_size=1)))
    pairs = layer_map(len(kept), data.draw(st.integers(1, total)), [*kept, total])
    own, theirs = zip(*pairs, strict=True)
    assert list(own) == sorted(set(own))
    assert list(theirs) == sorted(set(theirs))
    assert own[-1] == len(kept)
    assert set(own) <= set(range(1, len(kept) + 1))


def test_hidden_distance_is_that_of_a_loop():
    teacher, student = pair(shape=(2, 3, 8))
    found = hidden_distance(student, rms_normalized(teacher))
    total = 0.0
    for place in [(i, j) for i in range(2) for j in range(3)]:
        rows = [t[place].tolist() for t in (student, teacher)]
        norms = [math.sqrt(sum(x * x for x in row) / 8 + 1e-6) for row in rows]
        total += sum((a / norms[0] - b / norms[1]) ** 2 for a, b in zip(*rows, strict=True))
    assert float(found) == pytest.approx(total / 48, rel=1e-12)


def test_hidden_distance_knows_no_scale_and_has_the_right_gradient():
    teacher, student = pair(shape=(2, 3, 8))
    target = rms_normalized(teacher)
    assert float(hidden_distance(1000 * teacher, target)) < 1e-10
    assert torch.autograd.gradcheck(lambda s: hidden_distance(s, target), student.requires_grad_())
    zeros = torch.zeros(2, 3, 8, requires_grad=True)
    hidden_distance(zeros, target.float()).backward()
    assert zeros.grad.isfinite().all()
