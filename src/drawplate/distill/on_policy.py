"""Windows that a student writes itself, for its teacher to judge.

On-policy distillation (Agarwal et al. 2024, "On-policy distillation of language models: learning
from self-generated mistakes"): the student meets the states that its own mistakes lead to, which
no text of others shows it. TRL's GKDTrainer does the same, but asks a running teacher about every
batch and over the whole vocabulary, where most batches here are answered by what is kept of it, and
it is an experimental part of a large library; a sampler and a rule of which batch is whose are all
that is missing here.
"""

from typing import Any

import torch
from torch import Tensor


def is_on_policy(batch: int, share: float) -> bool:
    """Whether a batch is the student's own: a share of all batches, evenly spread.

    Args:
        batch: Its number, from 0.
        share: 0 for none, 1 for all. Of the first n batches, n times the share, rounded down.
    """
    return int(round((batch + 1) * share, 9)) > int(round(batch * share, 9))


@torch.no_grad()
def continued(student: Any, prompts: Tensor, tokens: int, seed: int) -> Tensor:
    """Prompts with continuations sampled from a student's own distribution, temperature 1.

    Transformers' `generate` is not used: it mixes in what the checkpoint's generation_config says
    of top-p and penalties, ends windows at end tokens, and draws from the global generator.

    Args:
        student: A causal language model; left in the mode it was in.
        prompts: int64 [windows, prompt tokens].
        tokens: Tokens of a window, prompt and continuation.
        seed: Of the draws. Random numbers come from the CPU whatever the device.

    Returns:
        int64 [windows, tokens].
    """
    generator = torch.Generator().manual_seed(seed)
    was_training = student.training
    student.eval()
    windows, fed, cache = prompts, prompts, None
    while windows.shape[1] < tokens:
        outputs = student(input_ids=fed, past_key_values=cache, use_cache=True)
        cache = outputs.past_key_values
        fed = drawn(outputs.logits[:, -1], generator)
        windows = torch.cat([windows, fed], dim=1)
    student.train(was_training)
    # Copies of the weights in bfloat16 that were made here know no gradients: not for the next pass.
    torch.clear_autocast_cache()
    return windows


def drawn(logits: Tensor, generator: torch.Generator) -> Tensor:
    """One token each from the softmax of logits, by inversion in float64.

    Args:
        logits: [windows, vocabulary].
        generator: Of the CPU; one number for each window is drawn.

    Returns:
        int64 [windows, 1].
    """
    cumulative = logits.to(torch.float64).softmax(-1).cumsum(-1)
    numbers = torch.rand(len(logits), 1, generator=generator, dtype=torch.float64)
    ids = torch.searchsorted(cumulative, numbers.to(logits.device) * cumulative[:, -1:], right=True)
    return ids.clamp(max=logits.shape[-1] - 1)
