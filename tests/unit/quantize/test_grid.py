import pytest
import torch

from drawplate.errors import DrawplateError
from drawplate.limits import check_group_size
from drawplate.quantize.grid import (
    minmax_grid,
    round_to_grid,
    round_to_nearest,
    searched_grid,
)


def weights(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bits", [4, 8])
def test_asymmetric_rounding_moves_no_weight_by_more_than_a_step(bits):
    weight = weights(16, 64)
    quantized = round_to_nearest(weight, bits, 32, symmetric=False)
    # Half a step from rounding the weight, half a step from rounding the zero point.
    limit = quantized.scales.repeat_interleave(32, dim=1) * 1.01
    assert ((quantized.dequantize() - weight).abs() <= limit).all()
    assert int(quantized.codes.max()) == 2**bits - 1


def test_symmetric_grid_holds_its_extremes_and_zero():
    groups = torch.tensor([[-1.0, 0.0, 0.5, 0.2], [-0.5, 0.0, 1.0, 0.2]])
    scales, zero_points = minmax_grid(groups, 4, symmetric=True)
    assert zero_points.tolist() == [8, 8]
    codes = round_to_grid(groups, scales[:, None], zero_points[:, None], 4)
    assert codes[0].tolist() == [0, 8, 12, 10]
    assert codes[1].tolist() == [4, 8, 15, 9]


def test_scales_are_what_float16_holds():
    scales, _ = minmax_grid(weights(100, 32) * 1e-3, 4, symmetric=False)
    assert torch.equal(scales.half().float(), scales)


def test_search_finds_the_grid_that_weights_lie_on():
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 16, (50, 32), generator=generator).float()
    codes[:, 0], codes[:, 1] = 0, 15  # as in GGUF, whose grids go from minimum to maximum
    scale = (torch.rand(50, 1, generator=generator) * 0.1 + 0.01).half().float()
    groups = (codes - 5) * scale
    scales, zero_points = searched_grid(groups, torch.ones(32), 4, symmetric=False)
    rounded = round_to_grid(groups, scales[:, None], zero_points[:, None], 4)
    error = ((rounded - zero_points[:, None]) * scales[:, None] - groups).abs().amax(1)
    assert (error < 0.2 * scale[:, 0]).float().mean() > 0.9


@pytest.mark.parametrize("symmetric", [True, False])
def test_search_is_never_worse_than_minmax_by_its_own_measure(symmetric):
    groups, importance = weights(200, 32), torch.rand(32)

    def error(grid):
        scales, zero_points = (part[:, None] for part in grid)
        codes = round_to_grid(groups, scales, zero_points, 4)
        return ((codes - zero_points) * scales - groups).square() @ importance

    searched = error(searched_grid(groups, importance, 4, symmetric))
    minmax = error(minmax_grid(groups, 4, symmetric))
    assert searched.mean() < 0.95 * minmax.mean()
    assert (searched <= minmax + 1e-6).all()


@pytest.mark.parametrize("symmetric", [True, False])
def test_no_scale_fits_the_found_codes_much_better(symmetric):
    groups, importance = weights(300, 32), torch.rand(32) + 0.1
    scales, zero_points = searched_grid(groups, importance, 4, symmetric)
    codes = round_to_grid(groups, scales[:, None], zero_points[:, None], 4)
    centred, weight = (codes - zero_points[:, None]).double(), importance.double()

    def error(scales):
        return ((centred * scales[:, None] - groups.double()).square() @ weight).sum()

    best = (centred * groups.double()) @ weight / (centred.square() @ weight)
    assert error(best) <= error(scales.double()) <= 1.005 * error(best)


@pytest.mark.parametrize("searched", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_matrix_of_zeros_stays_zero(searched, symmetric):
    quantized = round_to_nearest(torch.zeros(4, 64), 4, 32, symmetric, searched=searched)
    assert not quantized.dequantize().any()


def test_group_size_that_does_not_divide_is_refused_with_the_sizes_that_do():
    with pytest.raises(DrawplateError, match=r"choose one of 16, 32, 64$") as failure:
        check_group_size(576, 128, "q_proj")
    assert "576 columns of q_proj" in failure.value.what
    with pytest.raises(DrawplateError, match=r"choose one of 16, 32$"):
        check_group_size(576, 128, "q_proj", others=[1504])


def test_a_candidate_that_does_not_divide_is_named_as_one():
    with pytest.raises(DrawplateError, match=r"^candidates: groups of 128 do not .* 16 or 32 only"):
        check_group_size(96, 128, "down_proj", "candidates")


def test_where_no_group_size_divides_none_is_offered():
    with pytest.raises(DrawplateError, match=r"no group size, a multiple of 16, divides"):
        check_group_size(1000, 32, "down_proj")


def test_half_quadratic_grid_lets_outliers_go_where_minmax_does_not():
    generator = torch.Generator().manual_seed(5)
    groups = torch.randn(200, 32, generator=generator)
    groups[:, 0] += 6.0
    mean_errors = []
    for half_quadratic in (False, True):
        rounded = round_to_nearest(groups, 4, 32, False, half_quadratic=half_quadratic)
        mean_errors.append((rounded.dequantize() - groups).abs().pow(0.7).mean())
        zeros = rounded.zero_points
        assert zeros.dtype == torch.uint8
        assert int(zeros.max()) <= 15
    assert mean_errors[1] < mean_errors[0]
