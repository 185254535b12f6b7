"""The divergence of a student from what is kept of its teacher's distribution."""

from typing import Any

import torch
from torch import Tensor


def top_k_divergence(
    logits: Tensor, top_ids: Tensor, top_log_probs: Tensor, rest_log_prob: Tensor
) -> Tensor:
    """KL(teacher || student) over the teacher's k best tokens and one class for all others.

    A lower bound of the divergence over the whole vocabulary, and equal to it if k is its size.
    The student's share of the rest is summed over its own logits and not found as one minus the
    others, which would lose it, and its gradient, where the k tokens hold nearly everything.

    Args:
        logits: The student's, already divided by the temperature, [..., vocabulary].
        top_ids: int64 [..., k], all different.
        top_log_probs: The teacher's log-probabilities of those, [..., k].
        rest_log_prob: The teacher's log-probability of all other tokens together, [...].

    Returns:
        Nats, [...].
    """
    divergence: Tensor = _TopKDivergence.apply(logits, top_ids, top_log_probs, rest_log_prob)
    return divergence


class _TopKDivergence(torch.autograd.Function):
    """With its gradient in closed form.

    PyTorch's own chain of operations reads and writes the logits so often that a fifth of a
    training on a CPU went there.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, top_ids: Tensor, top_log_probs: Tensor, rest_log_prob: Tensor
    ) -> Tensor:
        top = logits.gather(-1, top_ids)
        if top_ids.shape[-1] == logits.shape[-1]:
            log_total = top.logsumexp(-1)
            log_rest, others = torch.full_like(log_total, -torch.inf), torch.zeros_like(logits)
            rest_part: Tensor | float = 0.0
        else:
            others = logits.scatter(-1, top_ids, -torch.inf)
            largest = others.amax(-1, keepdim=True)
            others.sub_(largest).exp_()
            total = others.sum(-1, keepdim=True)
            others.div_(total)  # the student's distribution over what is not among the k
            log_rest = (largest + total.log()).squeeze(-1)
            log_total = torch.logaddexp(top.logsumexp(-1), log_rest)
            rest_part = rest_log_prob.exp() * (rest_log_prob - (log_rest - log_total))
        student = top - log_total.unsqueeze(-1)
        ctx.save_for_backward(
            others, top_ids, student, log_rest - log_total, top_log_probs, rest_log_prob
        )
        return (top_log_probs.exp() * (top_log_probs - student)).sum(-1) + rest_part

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None]:
        others, top_ids, student, student_rest, top_log_probs, rest_log_prob = ctx.saved_tensors
        top, rest = top_log_probs.exp(), rest_log_prob.exp()
        whole = top.sum(-1) + rest  # one, but for the rounding of what was kept
        of_rest = (whole * student_rest.exp() - rest) * slope
        of_top = (whole.unsqueeze(-1) * student.exp() - top) * slope.unsqueeze(-1)
        gradient = others * of_rest.unsqueeze(-1)
        return gradient.scatter_(-1, top_ids, of_top.to(gradient.dtype)), None, None, None


def distillation_loss(
    logits: Tensor,
    top_ids: Tensor,
    top_log_probs: Tensor,
    rest_log_prob: Tensor,
    temperature: float,
) -> Tensor:
    """Mean divergence at a temperature times its square, a scalar.

    The square keeps gradients of one size whatever the temperature (Hinton, Vinyals, Dean 2015).

    Args:
        logits: The student's, [..., vocabulary].
        top_ids: See `top_k_divergence`; so the next two.
        top_log_probs: At the same temperature.
        rest_log_prob: At the same temperature.
        temperature: Of both distributions.
    """
    if temperature != 1:
        logits = logits / temperature
    divergence = top_k_divergence(logits, top_ids, top_log_probs, rest_log_prob)
    return temperature**2 * divergence.mean()
