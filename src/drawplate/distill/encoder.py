"""Distillation of a sentence encoder: the student learns the teacher's sentence vectors.

The loss is the cosine distance of mean-pooled vectors (half the squared distance of vectors of
length 1; Reimers and Gurevych 2020, "Making Monolingual Sentence Embeddings Multilingual using
Knowledge Distillation", learn them by squared distance) and, if asked for, the distance of hidden
states at the same relative depths (Jiao et al. 2020, TinyBERT).

The teacher's answers, computed once, for W texts of at most T tokens and D depths:

| tensor | dtype and shape | what |
|---|---|---|
| `input_ids`, `attention_mask` | int64 [W, T] | the texts, held-out ones among the others |
| `held_out` | uint8 [W] | 1 where a text is never to be learned from |
| `vectors` | float32 [W, hidden] | sentence vectors of length 1 |
| `hidden` | float16 [W, T, D, hidden] | RMS-normalized hidden states, if asked for |
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from drawplate.artifacts.files import need_free_bytes
from drawplate.distill.hidden import depths, rms_normalized
from drawplate.distill.options import DistillOptions
from drawplate.distill.sentences import read_sentences
from drawplate.engines.task import ENCODER
from drawplate.errors import DrawplateError
from drawplate.limits import check_depths
from drawplate.progress import progress
from drawplate.training.loop import Windows, train
from drawplate.training.model import open_model, write_model
from drawplate.training.split import is_held_out

ANSWERS = "answers.safetensors"
TEXTS_AT_ONCE = 32
UNIT = "cosine_distance"


def ask_encoder(parent: Path, data: Path, output: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Run a teacher once over its texts and store its answers.

    Args:
        parent: The teacher, a float checkpoint of an encoder.
        data: Folder of the data stage.
        output: Folder to write `answers.safetensors` into.
        config: `windows` (here texts), `held_out_windows`, `window_tokens`, `hidden_layers`.

    Returns:
        `windows`, `held_out_windows`, `positions` (tokens without padding), `bytes`.

    Raises:
        DrawplateError: If the parent cannot be a teacher, has fewer layers than asked for, or text
            or disk are too small.
    """
    model = open_model(parent, "distill", ENCODER).eval()
    check_depths(config["hidden_layers"], model.config.num_hidden_layers, str(parent))
    answers = _texts(parent, model.config, data, config)
    held_out = is_held_out(len(answers["input_ids"]), config["held_out_windows"])
    answers["held_out"] = held_out.to(torch.uint8)
    wanted = depths(model.config.num_hidden_layers, config["hidden_layers"])
    texts, tokens = answers["input_ids"].shape
    width = model.config.hidden_size
    size = texts * width * (4 + 2 * tokens * len(wanted))
    need_free_bytes(output, size, "the teacher's answers")
    vectors, hidden = [], []
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    for start in progress(range(0, texts, TEXTS_AT_ONCE), "ask the teacher", unit="batches"):
        part = {
            name: answers[name][start : start + TEXTS_AT_ONCE].to(model.device)
            for name in ("input_ids", "attention_mask")
        }
        with torch.no_grad():
            pooled, states = answer(model, part, wanted)
        vectors.append(pooled.cpu())
        if wanted:
            hidden.append(rms_normalized(states).to("cpu", torch.float16))
    answers["vectors"] = torch.cat(vectors)
    if wanted:
        answers["hidden"] = torch.cat(hidden)
    save_file(answers, output / ANSWERS)
    return {
        "windows": config["windows"],
        "held_out_windows": config["held_out_windows"],
        "positions": int(answers["attention_mask"].sum()),
        "bytes": (output / ANSWERS).stat().st_size,
    }


def distill_encoder(
    parent: Path,
    data: Path,
    teacher: Path,
    output: Path,
    options: DistillOptions,
    resume_folder: Path,
) -> dict[str, Any]:
    """Train the weights asked for, never the pooler's, towards a teacher's sentence vectors.

    Args:
        parent: The student, a float checkpoint of an encoder.
        data: Folder of the data stage that the teacher read.
        teacher: Folder of the teacher stage.
        output: Empty folder to fill.
        options: With loss `embeddings`.
        resume_folder: Where a killed run finds its kept step; no other inputs may use it.

    Returns:
        See `training.loop.train`; the held-out loss is the mean cosine distance to the teacher.

    Raises:
        DrawplateError: If student, teacher and options do not fit each other, or training fails.
    """
    model = open_model(parent, "distill", ENCODER, options.training.trained)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):  # noise on vectors that are to equal the teacher's
            module.p = 0.0
    answers = _checked_answers(parent, model.config, data, teacher, options)
    if not options.hidden_weight:
        answers.pop("hidden", None)
    held_out = answers.pop("held_out").bool()
    wanted = depths(model.config.num_hidden_layers, options.hidden_layers)

    def loss(student: Any, batch: Windows) -> Tensor:
        if not options.hidden_weight:
            return cosine_distance(answer(student, batch, [])[0], batch["vectors"])
        vectors, states = answer(student, batch, wanted)
        apart = hidden_distance(states, batch["hidden"], batch["attention_mask"])
        return cosine_distance(vectors, batch["vectors"]) + options.hidden_weight * apart

    facts = train(
        model,
        {name: tensor[~held_out] for name, tensor in answers.items()},
        {name: tensor[held_out] for name, tensor in answers.items()},
        options.training,
        loss,
        lambda student, batch: cosine_distance(answer(student, batch, [])[0], batch["vectors"]),
        resume_folder,
        unit=UNIT,
    )
    write_model(parent, output, model)
    return facts


def answer(model: Any, batch: Windows, wanted: list[int]) -> tuple[Tensor, Tensor]:
    """What an encoder says of a batch of padded texts.

    Args:
        model: Of transformers.
        batch: `input_ids` and `attention_mask` [texts, tokens].
        wanted: Indices of hidden states.

    Returns:
        Sentence vectors [texts, hidden] of length 1, and hidden states
        [texts, tokens, len(wanted), hidden], empty if none are wanted.
    """
    outputs = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        output_hidden_states=bool(wanted),
    )
    vectors = sentence_vectors(outputs.last_hidden_state, batch["attention_mask"])
    if not wanted:
        return vectors, torch.empty(0)
    return vectors, torch.stack([outputs.hidden_states[i] for i in wanted], dim=-2)


def sentence_vectors(states: Tensor, mask: Tensor) -> Tensor:
    """Means over the unmasked tokens, of length 1, as `engines.pooling` has them for arrays.

    Args:
        states: Last hidden states [texts, tokens, hidden].
        mask: 1 for tokens, 0 for padding [texts, tokens].
    """
    weights = mask.unsqueeze(-1).to(torch.float32)
    means = (states.to(torch.float32) * weights).sum(1) / weights.sum(1).clamp_min(1e-9)
    return torch.nn.functional.normalize(means, dim=-1)


def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of 1 - cosine of vectors of length 1 [texts, hidden], a scalar."""
    return 1 - (student * teacher).sum(-1).mean()


def hidden_distance(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """`hidden.hidden_distance` over the unmasked tokens, a scalar.

    Args:
        student: [texts, tokens, depths, hidden], not yet normalized.
        teacher: Of the same shape, normalized.
        mask: [texts, tokens].
    """
    real = mask.bool()
    return (rms_normalized(student[real]) - teacher[real]).square().mean()


def _texts(parent: Path, config: Any, data: Path, settings: dict[str, Any]) -> dict[str, Tensor]:
    """The texts that both teacher and student read."""
    token_ids, mask = read_sentences(
        data,
        parent / "tokenizer.json",
        config.pad_token_id or 0,
        settings["windows"] + settings["held_out_windows"],
        settings["window_tokens"],
    )
    return {"input_ids": token_ids, "attention_mask": mask}


def _checked_answers(
    parent: Path, config: Any, data: Path, teacher: Path, options: DistillOptions
) -> dict[str, Tensor]:
    """The teacher's answers, if they answer what the student asks.

    Raises:
        DrawplateError: If they are of other texts, another width or other depths.
    """
    if not (teacher / ANSWERS).exists():
        raise DrawplateError(f"{teacher} has no {ANSWERS}", "give the folder of the teacher stage")
    answers = load_file(teacher / ANSWERS)
    loop = options.training
    settings = {n: getattr(loop, n) for n in ("windows", "held_out_windows", "window_tokens")}
    texts = _texts(parent, config, data, settings)
    if "vectors" not in answers or not torch.equal(texts["input_ids"], answers["input_ids"]):
        raise DrawplateError(
            f"{teacher} holds no answers for the texts that {parent} reads in {data}",
            "teacher and student need one tokenizer, the same windows and the same data",
        )
    width = answers["vectors"].shape[1]
    if width != config.hidden_size:
        raise DrawplateError(
            f"sentence vectors of {teacher} have {width} numbers, those of {parent} "
            f"{config.hidden_size}",
            "choose a student of the teacher's hidden size",
        )
    if options.hidden_weight:
        check_depths(options.hidden_layers, config.num_hidden_layers, str(parent))
        if "hidden" not in answers or answers["hidden"].shape[2] != options.hidden_layers:
            raise DrawplateError(
                f"{teacher} does not hold hidden states of {options.hidden_layers} depths",
                "build the teacher stage with the hidden_layers of the distill step",
            )
    return answers
