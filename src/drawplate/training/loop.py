"""The training loop: transformers' Trainer with our loss, a fixed order and exact resumption."""

import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drawplate.artifacts.files import need_free_bytes
from drawplate.build.hardware import computes_bfloat16
from drawplate.errors import DrawplateError
from drawplate.progress import say
from drawplate.training.options import TrainingOptions
from drawplate.training.watch import Watch, as_callback, curve_of, last_whole_step

MICRO_TOKENS = 1024  # computed at once; more only costs memory, a batch is summed up from these
Windows = Mapping[str, Tensor]
"""Tensors of one length [windows, ...]; `input_ids` is one of them."""
PLACE = "place"
"""In a batch to learn from: each window's place in the order of the whole training, int64 [windows].
What a loss draws at random it draws from this, so that a resumed run draws the same."""
Loss = Callable[[Any, Windows], Tensor]
"""From a model and a batch of windows to their mean loss, a scalar."""


def train(
    model: Any,
    windows: Windows,
    held_out: Windows,
    options: TrainingOptions,
    loss: Loss,
    held_out_loss: Loss,
    resume_folder: Path,
    unit: str = "nats",
) -> dict[str, Any]:
    """Train a model in place: AdamW, gradients clipped to 1, a warmup and a cosine to 0.

    Killed and started again with the same arguments and number of threads, it goes on after the
    last kept step and ends with the same weights, bit for bit. (On a CPU. On a GPU everything that
    is ours is as exact, but PyTorch's fastest kernels add up in an order of their own.)

    Args:
        model: Of transformers or PEFT, float32; parameters that require gradients are trained.
        windows: To learn from.
        held_out: To measure on, in the precision of the training.
        options: See `TrainingOptions`.
        loss: What is minimized.
        held_out_loss: What is measured.
        resume_folder: Where steps are kept; no other inputs may use it. The caller deletes it
            when the weights are safe.
        unit: Of what is measured, part of its names.

    Returns:
        `curve` ([step, held_out_loss, train_loss]), the loss before and after, `unit`, `improved`,
        and the counts and times that belong to them. `seconds` and `tokens_per_s` are of this
        run's steps alone.

    Raises:
        DrawplateError: If the held-out loss is not finite, or the disk too small to keep steps.
    """
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    # Weights and two moments; the step before is deleted only when the new one is whole.
    need_free_bytes(resume_folder, 2 * 3 * 4 * trained, "keeping steps of the training")
    order = _order(len(windows["input_ids"]), options)
    total_steps = math.ceil(len(order) / options.batch_windows)
    arguments = _arguments(options, total_steps, resume_folder)
    rows = [
        {name: t[i] for name, t in windows.items()} | {PLACE: torch.tensor(place)}
        for place, i in enumerate(order)
    ]
    micro = arguments.per_device_train_batch_size
    watch = Watch(lambda: _mean_loss(model, held_out, held_out_loss, micro), total_steps, unit)
    trainer = _trainer(model, arguments, rows, loss, watch)
    kept = last_whole_step(resume_folder)
    try:
        trainer.train(resume_from_checkpoint=None if kept is None else str(kept))
    except DrawplateError:
        # Numbers that went astray are no place to go on from.
        shutil.rmtree(resume_folder, ignore_errors=True)
        raise
    run_windows = len(order) - min(len(order), watch.first_step * options.batch_windows)
    return _summary(
        curve_of(trainer.state.log_history), watch, options, len(order), run_windows
    ) | {
        "trained_parameters": trained,
        "device": arguments.device.type,
        "precision": options.precision,
    }


def _trainer(
    model: Any, arguments: Any, rows: list[dict[str, Tensor]], loss: Loss, watch: Watch
) -> Any:
    """Transformers' Trainer with a loss given as a function, each batch's mean."""
    from transformers import PrinterCallback, Trainer

    class LossTrainer(Trainer):  # type: ignore[misc, unused-ignore]  # transformers is not followed
        loss_is_scaled_for_ga = False

        def compute_loss(
            self,
            model: Any,
            inputs: Windows,
            return_outputs: bool = False,
            num_items_in_batch: Any = None,
        ) -> Tensor:
            return loss(model, inputs)

    trainer = LossTrainer(model=model, args=arguments, train_dataset=rows)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(as_callback(watch))
    return trainer


def _order(windows: int, options: TrainingOptions) -> list[int]:
    """Which window comes when: a new permutation each epoch, from the seed alone."""
    generator = torch.Generator().manual_seed(options.seed)
    epochs = [torch.randperm(windows, generator=generator) for _ in range(options.epochs)]
    order: list[int] = torch.cat(epochs).tolist()
    return order


def micro_windows(batch_windows: int, window_tokens: int) -> int:
    """Windows computed at once: the largest divisor of a batch within `MICRO_TOKENS`."""
    fitting = max(1, MICRO_TOKENS // window_tokens)
    return max(n for n in range(1, min(fitting, batch_windows) + 1) if batch_windows % n == 0)


def _arguments(options: TrainingOptions, total_steps: int, folder: Path) -> Any:
    """The Trainer's arguments. It saves, logs and measures when `Watch` says so, else never."""
    from transformers import TrainingArguments

    micro = micro_windows(options.batch_windows, options.window_tokens)
    gpu = torch.cuda.is_available()
    if options.precision == "bfloat16" and not gpu and not computes_bfloat16():
        say("warning: bfloat16 is emulated on this processor; precision=float32 is far faster")
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,  # of the order, which holds all epochs
        train_sampling_strategy="sequential",
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=options.batch_windows // micro,
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(options.warmup_share * total_steps),
        optim="adamw_torch_fused",
        weight_decay=0.0,
        max_grad_norm=1.0,
        bf16=options.precision == "bfloat16",
        seed=options.seed,
        use_cpu=not gpu,
        dataloader_pin_memory=gpu,
        save_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        eval_strategy="no",
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
        log_level="error",  # it warns of the tied head that a kept step rightly lacks
    )
    # Several GPUs would make batches several times as large.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


@torch.no_grad()
def _mean_loss(model: Any, windows: Windows, loss: Loss, micro: int) -> float:
    """Mean loss over windows; the model is left in the mode it was in."""
    was_training, count, total = model.training, len(windows["input_ids"]), 0.0
    device = next(model.parameters()).device
    model.eval()
    for start in range(0, count, micro):
        batch = {name: t[start : start + micro].to(device) for name, t in windows.items()}
        total += float(loss(model, batch)) * len(batch["input_ids"])
    model.train(was_training)
    return total / count


def _summary(
    curve: Any, watch: Watch, options: TrainingOptions, order: int, run_windows: int
) -> dict[str, Any]:
    """What a manifest says of a training."""
    before, after = curve[0][1], curve[-1][1]
    if after > before:
        say(f"warning: the held-out loss rose from {before:.4f} to {after:.4f} in training")
    rate = run_windows * options.window_tokens / watch.seconds if watch.seconds else None
    return {
        "curve": [[s, round(h, 6), None if t is None else round(t, 6)] for s, h, t in curve],
        f"held_out_loss_before_{watch.unit}": round(before, 6),
        f"held_out_loss_after_{watch.unit}": round(after, 6),
        "unit": watch.unit,
        "improved": after <= before,
        "steps": curve[-1][0],
        "tokens": order * options.window_tokens,
        "resumed_after_step": watch.first_step,
        "seconds": round(watch.seconds, 3),
        "tokens_per_s": None if rate is None else round(rate, 1),
    }
