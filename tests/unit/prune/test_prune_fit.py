"""Fits of what is kept, and fits towards another model, against plain least squares."""

import math

import numpy as np
import pytest
import torch

from drawplate.layerwise.moments import cross_moment, mean_square
from drawplate.layerwise.workers import workers
from drawplate.prune.compensate import aimed, damped, error_towards, fit_kept
from drawplate.prune.scores import mean_magnitude


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(inputs, outputs, seed):
    """A curvature of correlated inputs, and a weight."""
    data = normal(200, 3, seed=seed) @ normal(3, inputs, seed=seed + 1)
    data += 0.3 * normal(200, inputs, seed=seed + 2)
    return damped(data.t() @ data / 200, 0.01), normal(outputs, inputs, seed=seed + 3)


def test_fit_of_single_precision_is_near_that_of_double():
    hessian, weight = problem(40, 6, 3)
    kept = torch.tensor([i for i in range(40) if i % 4])
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
