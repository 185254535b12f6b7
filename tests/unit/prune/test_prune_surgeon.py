"""Structured Optimal Brain Surgeon and fits towards another model, against plain least squares."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drawplate.layerwise.moments import cross_moment, mean_square
from drawplate.layerwise.workers import workers
from drawplate.prune.compensate import aimed, damped, error_towards, fit_kept, widened
from drawplate.prune.scores import mean_magnitude
from drawplate.prune.surgeon import surgeon_keep


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(inputs, outputs, seed):
    """A curvature of correlated inputs, and a weight."""
    data = normal(200, 3, seed=seed) @ normal(3, inputs, seed=seed + 1)
    data += 0.3 * normal(200, inputs, seed=seed + 2)
    return damped(data.t() @ data / 200, 0.01), normal(outputs, inputs, seed=seed + 3)


def cost(hessian, weight, removed):
    """Squared error left when some inputs are gone and the rest is at its optimum, by solving."""
    kept = [i for i in range(len(hessian)) if i not in removed]
    wide = widened(fit_kept(hessian, weight, torch.tensor(kept)), torch.tensor(kept), len(hessian))
    difference = wide - weight
    return float(((difference @ hessian) * difference).sum())


def greedy(hessian, weight, keep, width):
    """What stays if every removal is the one of least cost, each cost by solving anew."""
    structures, gone = len(hessian) // width, []
    while structures - len(gone) > keep:
        candidates = [s for s in range(structures) if s not in gone]
        inputs = {
            s: [i for g in [*gone, s] for i in range(g * width, (g + 1) * width)]
            for s in candidates
        }
        gone.append(min(candidates, key=lambda s: cost(hessian, weight, inputs[s])))
    return [s for s in range(structures) if s not in gone]


@settings(max_examples=25, deadline=None)
@given(
    width=st.integers(1, 3),
    structures=st.integers(1, 6),
    outputs=st.integers(1, 5),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_surgeon_is_greedy_removal_with_every_cost_solved_anew(
    width, structures, outputs, seed, data
):
    hessian, weight = problem(structures * width, outputs, seed)
    keep = data.draw(st.integers(1, structures))
    kept = surgeon_keep(hessian, weight, keep, width)
    assert kept.dtype == torch.int64
    assert kept.tolist() == greedy(hessian, weight, keep, width)


def test_silent_channel_goes_however_strong_the_ridge_and_its_weight():
    data = normal(300, 6, seed=1)
    data[:, 2] = 0
    moment, weight = data.t() @ data / 300, normal(4, 6, seed=2)
    weight[:, 2] *= 100
    hessian = damped(moment, 0.5)
    pull = (hessian - moment).diagonal() * weight.square().sum(dim=0)
    assert surgeon_keep(hessian, weight, 5, pull=pull).tolist() == [0, 1, 3, 4, 5]


def test_pull_leaves_the_error_of_what_stays():
    """Costs without the pull are those of a fit whose ridge holds the kept weights alone."""
    data, weight = normal(200, 3, seed=7) @ normal(3, 6, seed=8), normal(4, 6, seed=9)
    data += 0.3 * normal(200, 6, seed=10)
    moment, ridge = data.t() @ data / 200, 0.4
    hessian = moment + ridge * torch.eye(6, dtype=torch.float64)
    costs = []
    for removed in range(6):
        kept = torch.tensor([i for i in range(6) if i != removed])
        fitted = fit_kept(hessian, weight, kept)
        difference = widened(fitted, kept, 6) - weight
        error = ((difference @ moment) * difference).sum()
        costs.append(float(error + ridge * difference[:, kept].square().sum()))
    pull = ridge * weight.square().sum(dim=0)
    (gone,) = set(range(6)) - set(surgeon_keep(hessian, weight, 5, pull=pull).tolist())
    assert gone == min(range(6), key=costs.__getitem__)


def test_first_removal_is_the_formula_of_optimal_brain_surgeon():
    hessian, weight = problem(8, 4, 5)
    formula = weight.square().sum(dim=0) / torch.linalg.inv(hessian).diagonal()
    for removed in range(8):
        assert cost(hessian, weight, [removed]) == pytest.approx(float(formula[removed]))
    (gone,) = set(range(8)) - set(surgeon_keep(hessian, weight, 7).tolist())
    assert gone == int(formula.argmin())


def test_surgeon_comes_near_the_best_of_all_choices():
    hessian, weight = problem(9, 4, 20)
    choices = [cost(hessian, weight, gone) for gone in itertools.combinations(range(9), 4)]
    kept = surgeon_keep(hessian, weight, 5).tolist()
    own = cost(hessian, weight, [i for i in range(9) if i not in kept])
    assert own <= 1.2 * min(choices) < np.median(choices)


def test_channel_that_others_repeat_goes_however_loud_it_is():
    data = normal(300, 6, seed=1)
    data[:, 5] = 10 * (data[:, 0] - data[:, 1])
    hessian = damped(data.t() @ data / 300, 1e-9)
    assert surgeon_keep(hessian, normal(4, 6, seed=2), 5).tolist() in [
        [1, 2, 3, 4, 5],
        [0, 2, 3, 4, 5],
        [0, 1, 2, 3, 4],
    ]


def test_fit_of_single_precision_is_near_that_of_double():
    hessian, weight = problem(40, 6, 3)
    kept = surgeon_keep(hessian, weight, 30)
    assert torch.equal(surgeon_keep(hessian.float(), weight.float(), 30), kept)
    single = fit_kept(hessian.float(), weight.float(), kept)
    assert single.dtype == torch.float32
    torch.testing.assert_close(
        single.double(), fit_kept(hessian, weight, kept), atol=1e-4, rtol=1e-4
    )


def test_aimed_is_numpy_lstsq_with_rows_that_pull_to_the_weight():
    """The pruned model's inputs, and outputs that another model makes of other inputs."""
    inputs, weight = normal(200, 7, seed=1) @ normal(7, 7, seed=2), normal(4, 7, seed=3)
    wanted = (inputs + 0.3 * normal(200, 7, seed=4)) @ weight.t() + normal(200, 4, seed=5)
    moment = inputs.t() @ inputs / 200
    hessian = damped(moment, 0.2)
    pull = math.sqrt(0.2 * float(moment.diagonal().mean()) * 200) * np.eye(7)
    left = np.concatenate([inputs.numpy(), pull])
    right = np.concatenate([wanted.numpy(), pull @ weight.t().numpy()])
    expected, *_ = np.linalg.lstsq(left, right, rcond=None)
    cross = inputs.t() @ wanted / 200
    np.testing.assert_allclose(aimed(moment, hessian, weight, cross).numpy(), expected.T, atol=1e-8)


def test_aimed_then_fitted_is_least_squares_of_the_kept_inputs_on_the_wanted_outputs():
    inputs, weight = normal(300, 8, seed=1) @ normal(8, 8, seed=2), normal(4, 8, seed=3)
    wanted, kept = normal(300, 4, seed=4), torch.tensor([0, 2, 3, 6])
    moment, cross = inputs.t() @ inputs / 300, inputs.t() @ wanted / 300
    hessian = damped(moment, 0.0)
    fitted = fit_kept(hessian, aimed(moment, hessian, weight, cross), kept)
    expected, *_ = np.linalg.lstsq(inputs[:, kept].numpy(), wanted.numpy(), rcond=None)
    np.testing.assert_allclose(fitted.numpy(), expected.T, atol=1e-8)


def test_error_towards_against_the_outputs_themselves():
    inputs, weight, wanted = normal(50, 6), normal(3, 6, seed=1), normal(50, 3, seed=2)
    power = mean_square([wanted[:20], wanted[20:]])
    assert power == pytest.approx(float(wanted.square().sum(dim=1).mean()))
    error = error_towards(inputs.t() @ inputs / 50, inputs.t() @ wanted / 50, power, weight)
    expected = (inputs @ weight.t() - wanted).square().sum() / wanted.square().sum()
    assert error == pytest.approx(float(expected))


def test_cross_moment_against_numpy_in_bands(monkeypatch):
    monkeypatch.setattr("drawplate.layerwise.moments.BAND_ROWS", 5)
    xs = [normal(2, 7, 12).float(), normal(1, 7, 12, seed=1).float()]
    ys = [normal(2, 7, 3, seed=2).float(), normal(1, 7, 3, seed=3).float()]
    x, y = (np.concatenate([b.flatten(0, 1).double().numpy() for b in bs]) for bs in (xs, ys))
    with workers(2) as pool:
        moment = cross_moment(xs, ys, pool)
        monkeypatch.setattr("drawplate.layerwise.moments.LARGEST_FLOAT64", 11)
        assert cross_moment(xs, ys, pool).dtype == torch.float32
    np.testing.assert_allclose(moment.numpy(), x.T @ y / len(x), atol=1e-6)


def test_mean_magnitude_against_numpy():
    batches = [normal(2, 7, 5).float(), normal(1, 7, 5, seed=1).float()]
    tokens = np.concatenate([batch.flatten(0, 1).numpy() for batch in batches])
    expected = np.abs(tokens.astype(np.float64)).mean(axis=0)
    np.testing.assert_allclose(mean_magnitude(batches).numpy(), expected, rtol=1e-6)
