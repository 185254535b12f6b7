"""What a teacher says of every token of the training text, computed once and kept.

Stored in one safetensors file, for W windows of T tokens, the k best tokens and D depths:

| tensor | dtype and shape | what |
|---|---|---|
| `input_ids` | int64 [W, T] | the text, held-out windows among the others |
| `held_out` | uint8 [W] | 1 where a window is never to be learned from |
| `top_ids` | int32 [W, T, k] | the k most probable next tokens |
| `top_log_probs` | float32 [W, T, k] | their log-probabilities at the temperature |
| `rest_log_prob` | float32 [W, T] | log-probability of all others together |
| `hidden` | float16 [W, T, D, hidden] | RMS-normalized hidden states, if asked for |

Log-probabilities are float32: the ids beside them take as much, so halves would save a quarter at
most. Hidden states are normalized before they are stored, which is what the loss compares and what
keeps them within the range of float16.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from drawplate.artifacts.files import need_free_bytes
from drawplate.distill.check import vocabulary_sha256
from drawplate.distill.encoder import ask_encoder
from drawplate.distill.hidden import depths, rms_normalized
from drawplate.errors import DrawplateError
from drawplate.limits import check_depths, check_top_k
from drawplate.progress import progress
from drawplate.training.model import open_model
from drawplate.training.split import is_held_out, read_all_windows

ANSWERS = "answers.safetensors"
BATCH_TOKENS = 1024  # whose logits are in memory at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherOptions:
    """What a teacher is asked; the fields mean what they mean in a distill step."""

    windows: int
    held_out_windows: int
    window_tokens: int
    temperature: float
    top_k: int
    hidden_layers: int
    loss: str = "logits"


def ask_teacher(
    parent: Path, data: Path, output: Path, config: dict[str, Any], threads: int
) -> dict[str, Any]:
    """Run a teacher once over its windows and store its answers.

    Args:
        parent: The teacher, a float checkpoint of a causal language model; an encoder where the
            loss is `embeddings`, see `encoder.ask_encoder`.
        data: Folder of the data stage.
        output: Folder to write `answers.safetensors` into.
        config: Fields of `TeacherOptions`.
        threads: Threads the work may use.

    Returns:
        `windows`, `held_out_windows`, `positions`, `mean_top_k_mass` (share of the probability
        that the k tokens hold), `bytes`.

    Raises:
        DrawplateError: If the parent cannot be a teacher, has fewer tokens or layers than asked
            for, or text or disk are too small.
    """
    options = TeacherOptions(**config)
    torch.set_num_threads(threads)
    if options.loss == "embeddings":
        return ask_encoder(parent, data, output, config)
    model = open_model(parent, "distill").eval()
    _check(parent, model.config, options)
    token_ids = read_all_windows(
        data,
        parent / "tokenizer.json",
        options.windows,
        options.held_out_windows,
        options.window_tokens,
    )
    answers = _room(token_ids, model.config, options)
    size = sum(tensor.nbytes for tensor in answers.values())
    need_free_bytes(output, size, "the teacher's answers")
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    _fill(model, answers, options)
    metadata = {
        "temperature": float(options.temperature),
        "vocabulary_sha256": vocabulary_sha256(parent),
    }
    # One entry only: safetensors writes several in random order, and digests would differ.
    save_file(answers, output / ANSWERS, metadata={"asked": json.dumps(metadata)})
    mass = 1 - answers["rest_log_prob"].to(torch.float64).exp().mean()
    return {
        "windows": options.windows,
        "held_out_windows": options.held_out_windows,
        "positions": token_ids.numel(),
        "mean_top_k_mass": round(float(mass), 6),
        "bytes": (output / ANSWERS).stat().st_size,
    }


def read_answers(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A teacher's answers by name, and the `temperature` and `vocabulary_sha256` they are for.

    Raises:
        DrawplateError: If the folder holds none.
    """
    path = folder / ANSWERS
    if not path.exists():
        raise DrawplateError(f"{folder} has no {ANSWERS}", "give the folder of the teacher stage")
    with safe_open(path, framework="pt") as stored:
        tensors = {name: stored.get_tensor(name) for name in sorted(stored.keys())}
        return tensors, json.loads(stored.metadata()["asked"])


def _check(parent: Path, config: Any, options: TeacherOptions) -> None:
    """Refuse what the teacher does not have.

    Raises:
        DrawplateError: Naming the option.
    """
    check_top_k(options.top_k, config.vocab_size, str(parent))
    check_depths(options.hidden_layers, config.num_hidden_layers, str(parent))


def _room(token_ids: Tensor, config: Any, options: TeacherOptions) -> dict[str, Tensor]:
    """Tensors of the stored form, still to be filled."""
    top = (*token_ids.shape, options.top_k)
    held_out = is_held_out(len(token_ids), options.held_out_windows)
    answers = {
        "input_ids": token_ids.contiguous(),
        "held_out": held_out.to(torch.uint8),
        "top_ids": torch.empty(top, dtype=torch.int32),
        "top_log_probs": torch.empty(top),
        "rest_log_prob": torch.empty(token_ids.shape),
    }
    if options.hidden_layers:
        shape = (*token_ids.shape, options.hidden_layers, config.hidden_size)
        answers["hidden"] = torch.empty(shape, dtype=torch.float16)
    return answers


def _fill(model: Any, answers: dict[str, Tensor], options: TeacherOptions) -> None:
    """Run the teacher, batch by batch."""
    size = max(1, BATCH_TOKENS // options.window_tokens)
    starts = range(0, len(answers["input_ids"]), size)
    for start in progress(starts, "ask the teacher", unit="batches"):
        part = slice(start, start + size)
        token_ids = answers["input_ids"][part].to(model.device)
        said = answer(model, token_ids, options.temperature, options.top_k, options.hidden_layers)
        for name, tensor in said.items():
            answers[name][part] = tensor.to("cpu", answers[name].dtype)


@torch.no_grad()
def answer(
    model: Any, token_ids: Tensor, temperature: float, top_k: int, hidden_layers: int
) -> dict[str, Tensor]:
    """What a teacher says of windows, in the model's own precision.

    Args:
        model: The teacher.
        token_ids: int64 [windows, tokens], on its device.
        temperature: Of its distribution.
        top_k: Tokens that are told apart.
        hidden_layers: Depths whose hidden states are wanted, or 0.

    Returns:
        `top_ids`, `top_log_probs`, `rest_log_prob` and, if wanted, `hidden`; shapes as stored.
    """
    wanted = depths(model.config.num_hidden_layers, hidden_layers)
    outputs = model(input_ids=token_ids, use_cache=False, output_hidden_states=bool(wanted))
    log_probs = (outputs.logits.to(torch.float32) / temperature).log_softmax(-1)
    top = log_probs.topk(top_k)
    rest = log_probs.scatter_(-1, top.indices, -torch.inf).logsumexp(-1)
    said = {"top_ids": top.indices, "top_log_probs": top.values, "rest_log_prob": rest}
    if wanted:
        states = [rms_normalized(outputs.hidden_states[depth]) for depth in wanted]
        said["hidden"] = torch.stack(states, dim=-2)
    return said
