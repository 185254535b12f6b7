"""Structured Optimal Brain Surgeon: which inputs of a linear layer can be done without together."""

import math

import torch
from torch import Tensor


def surgeon_keep(
    hessian: Tensor, weight: Tensor, keep: int, width: int = 1, pull: Tensor | None = None
) -> Tensor:
    """Choose the structures that stay, taking away the cheapest one after another.

    With the weights that are left always at the optimum for what is left, removing structure S
    adds `tr(W_S ([H^-1]_SS)^-1 W_S^T)` to the squared error: Hassibi and Stork, "Second Order
    Derivatives for Network Pruning: Optimal Brain Surgeon", 1992, for structures as in Kurtic et
    al., "ZipLM: Inference-Aware Structured Pruning of Language Models", 2023. Updates of the
    inverse and of the weights are kept as factors and not carried out, so that one removal reads
    each of them once and writes neither.

    Args:
        hessian: Positive definite [inputs, inputs].
        weight: Optimal without any removal [outputs, inputs].
        keep: How many structures stay.
        width: Inputs of a structure; they stand side by side.
        pull: What each input of a structure that goes adds to the cost through the ridge alone
            [inputs], which is no error on data: ridge times square of the weight it pulls to.

    Returns:
        Indices of structures, int64 [keep], ascending.
    """
    dtype = hessian.dtype
    weight = weight.to(dtype)
    inverse = torch.linalg.cholesky(hessian)
    torch.cholesky_inverse(inverse, out=inverse)
    structures = len(inverse) // width
    removals = (structures - keep) * width
    rows = torch.zeros(removals, len(inverse), dtype=dtype)
    outs = torch.zeros(removals, len(weight), dtype=dtype)
    blocks = _diagonal_blocks(inverse, width)
    grams = torch.stack([w.t() @ w for w in weight.split(width, dim=1)])
    pulls = torch.zeros(structures, dtype=dtype)
    if pull is not None:
        pulls = pull.to(dtype).view(structures, width).sum(dim=1)
    is_gone = torch.zeros(structures, dtype=torch.bool)
    for done in range(0, removals, width):
        costs = torch.linalg.solve(blocks, grams).diagonal(dim1=-2, dim2=-1).sum(-1) - pulls
        gone = int(costs.masked_fill(is_gone, math.inf).argmin())
        here, past = slice(gone * width, (gone + 1) * width), slice(done)
        inverse_rows = inverse[here] - rows[past, here].t() @ rows[past]
        columns = weight[:, here].t() - rows[past, here].t() @ outs[past]
        factor = torch.linalg.cholesky(blocks[gone])
        row = torch.linalg.solve_triangular(factor, inverse_rows, upper=False)
        out = torch.linalg.solve_triangular(factor, columns, upper=False)
        # What follows are the blocks of H^-1 - row^T row and of the Gram matrix of W - out^T row.
        shared = out @ weight - (out @ outs[past].t()) @ rows[past]
        row_blocks, shared_blocks = _column_blocks(row, width), _column_blocks(shared, width)
        crossed = row_blocks.mT @ shared_blocks
        grams += row_blocks.mT @ (out @ out.t()) @ row_blocks - crossed - crossed.mT
        blocks -= row_blocks.mT @ row_blocks
        rows[done : done + width], outs[done : done + width] = row, out
        is_gone[gone] = True
        blocks[is_gone] = torch.eye(width, dtype=dtype)
    return (~is_gone).nonzero()[:, 0]


def _diagonal_blocks(matrix: Tensor, width: int) -> Tensor:
    """Blocks on the diagonal of a square matrix [structures, width, width]."""
    structures = len(matrix) // width
    view = matrix.view(structures, width, structures, width)
    return view.diagonal(dim1=0, dim2=2).permute(2, 0, 1).clone()


def _column_blocks(matrix: Tensor, width: int) -> Tensor:
    """Columns of a matrix [rows, inputs] by structure [structures, rows, width]."""
    return matrix.view(len(matrix), -1, width).transpose(0, 1)
