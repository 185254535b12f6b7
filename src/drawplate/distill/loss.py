"""The divergence of a student from what is kept of its teacher's distribution."""

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
    log_total = logits.logsumexp(-1)
    student = logits.gather(-1, top_ids) - log_total.unsqueeze(-1)
    divergence: Tensor = (top_log_probs.exp() * (top_log_probs - student)).sum(-1)
    if top_ids.shape[-1] < logits.shape[-1]:
        others = logits.scatter(-1, top_ids, -torch.inf).logsumexp(-1) - log_total
        divergence = divergence + rest_log_prob.exp() * (rest_log_prob - others)
    return divergence


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
    divergence = top_k_divergence(logits / temperature, top_ids, top_log_probs, rest_log_prob)
    return temperature**2 * divergence.mean()
