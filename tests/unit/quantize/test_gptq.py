import pytest
import torch

from drawplate.checkpoint.tensors import QuantizedTensor
from drawplate.layerwise.workers import workers
from drawplate.quantize import gptq
from drawplate.quantize.gptq import inverse_factor, inverse_of_lower, output_error, quantize_gptq
from drawplate.quantize.grid import round_to_grid, round_to_nearest, searched_grid


def reference(weight, hessian, bits, group_size, damping=0.01):
    """Optimal brain quantization of columns in order, in float64, as the paper states it.

    After each column the remaining weights get the best correction, and the column is removed
    from the inverse Hessian by one step of Gaussian elimination.
    """
    remaining = weight.double().clone()
    damped = hessian.double() + damping * hessian.double().diagonal().mean() * torch.eye(
        len(hessian), dtype=torch.float64
    )
    inverse = torch.linalg.inv(damped)
    importance = inverse_pivots(damped)
    codes = torch.empty_like(remaining)
    scales, zero_points = [], []
    for column in range(weight.shape[1]):
        if column % group_size == 0:
            members = slice(column, column + group_size)
            grid = searched_grid(
                remaining[:, members].float(), importance[members].float(), bits, symmetric=False
            )
            scales.append(grid[0].double())
            zero_points.append(grid[1].double())
        value = remaining[:, column]
        codes[:, column] = round_to_grid(value, scales[-1], zero_points[-1], bits)
        error = value - (codes[:, column] - zero_points[-1]) * scales[-1]
        pivot = inverse[column, column]
        remaining[:, column + 1 :] -= torch.outer(error / pivot, inverse[column, column + 1 :])
        inverse -= torch.outer(inverse[:, column], inverse[column]) / pivot
    return QuantizedTensor(
        codes=codes.to(torch.uint8),
        scales=torch.stack(scales, 1).float(),
        zero_points=torch.stack(zero_points, 1).to(torch.uint8),
        bits=bits,
        group_size=group_size,
    )


def inverse_pivots(damped):
    """Curvature of each column once the columns before it are fixed."""
    inverse = torch.linalg.inv(damped)
    pivots = []
    for column in range(len(damped)):
        pivots.append(1 / inverse[column, column].item())
        inverse = (
            inverse - torch.outer(inverse[:, column], inverse[column]) / inverse[column, column]
        )
    return torch.tensor(pivots)


def factor_of(hessian, shrinkage, **more):
    with workers(2) as pool:
        return inverse_factor(hessian, shrinkage, pool, **more)


@pytest.mark.parametrize("size", [1, 5, 13, 20])
def test_inverse_by_bands_is_the_inverse(size, monkeypatch):
    monkeypatch.setattr(gptq, "BAND_COLUMNS", 5)
    generator = torch.Generator().manual_seed(size)
    lower = torch.randn(size, size, generator=generator, dtype=torch.float64).tril()
    lower.diagonal().abs_().add_(1)
    found = []
    for threads in (1, 3):
        with workers(threads) as pool:
            found.append(inverse_of_lower(lower, pool))
    torch.testing.assert_close(found[0], torch.linalg.inv(lower), rtol=1e-10, atol=1e-12)
    assert torch.equal(*found)
    assert torch.equal(found[0], found[0].tril())


def test_agrees_with_optimal_brain_quantization_in_float64(correlated):
    weight, hessian = correlated
    expected = reference(weight, hessian, bits=4, group_size=16)
    found = quantize_gptq(weight, factor_of(hessian, 0.0), 4, 16, symmetric=False)
    assert (found.codes == expected.codes).float().mean() > 0.98
    assert (found.zero_points == expected.zero_points).float().mean() > 0.98
    errors = [output_error(weight, q, hessian) for q in (found, expected)]
    assert abs(errors[0] / errors[1] - 1) < 0.02


def test_factor_is_that_of_the_shrunk_and_damped_inverse(correlated):
    _, hessian = correlated
    factor = factor_of(hessian, shrinkage=0.4, damping=0.05).double()
    diagonal = torch.diag(hessian.diagonal())
    mean = hessian.diagonal().mean() * torch.eye(len(hessian))
    expected = torch.linalg.inv((0.6 * hessian + 0.4 * diagonal + 0.05 * mean).double())
    assert torch.equal(factor, factor.triu())
    torch.testing.assert_close(factor.t() @ factor, expected, rtol=1e-4, atol=1e-5)


def test_outputs_change_less_than_with_rounding_to_nearest(correlated):
    weight, hessian = correlated
    factor = factor_of(hessian, 0.0)
    for symmetric in (True, False):
        nearest = round_to_nearest(weight, 4, 32, symmetric)
        gptq = quantize_gptq(weight, factor, 4, 32, symmetric)
        assert gptq.symmetric == symmetric
        assert output_error(weight, gptq, hessian) < 0.7 * output_error(weight, nearest, hessian)


def test_bands_of_rows_are_independent(correlated):
    weight, hessian = correlated
    factor = factor_of(hessian, 0.2)
    whole = quantize_gptq(weight, factor, 4, 32, symmetric=False)
    band = quantize_gptq(weight[8:24], factor, 4, 32, symmetric=False)
    assert (whole.codes[8:24] == band.codes).float().mean() > 0.999


def test_inputs_that_never_occur_do_no_harm(correlated):
    weight, hessian = correlated
    hessian = hessian.clone()
    hessian[5], hessian[:, 5] = 0, 0
    quantized = quantize_gptq(weight, factor_of(hessian, 0.0), 4, 32, symmetric=False)
    assert quantized.dequantize().isfinite().all()
    nothing = factor_of(torch.zeros(64, 64), 0.0)
    assert quantize_gptq(weight, nothing, 8, 32, symmetric=False).dequantize().isfinite().all()
