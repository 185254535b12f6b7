"""What happens beside the steps of a training: progress, held-out losses, kept steps."""

import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from drawplate.errors import DrawplateError
from drawplate.progress import progress, say

MEASUREMENTS = 5  # of the held-out loss after the one before the first step
SECONDS_BETWEEN_SAVES = 300.0  # a kill loses no more of the work
HELD_OUT = "held_out_loss_nats"
WHOLE = "whole"  # name of the file that a step's folder gets when everything else is in it
Curve = list[tuple[int, float, float | None]]


class Watch:
    """Measures, keeps and reports while transformers' Trainer trains.

    The history is kept in the Trainer's own state, which is saved with every kept step.

    Attributes:
        unit: Of the measure.
        seconds: Time spent in steps of this run, measuring and saving left out.
        first_step: The kept step from which this run went on, 0 at the beginning.
    """

    def __init__(self, measure: Callable[[], float], total_steps: int, unit: str = "nats") -> None:
        self._measure = measure
        self.unit = unit
        self._total = total_steps
        self._marks = {math.ceil(total_steps * i / MEASUREMENTS) for i in range(MEASUREMENTS + 1)}
        self.seconds = 0.0
        self.first_step = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure before the first step, or say where the run goes on."""
        self.first_step = state.global_step
        if state.global_step:
            say(f"goes on after step {state.global_step} of {self._total}, kept by an earlier run")
        else:
            self._mark(state)
        self._ticks = progress(range(self._total - state.global_step), "train", unit="steps")
        next(self._ticks, None)
        self._saved = self._resumed = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure at the marks; have the step kept if the last one is a while ago."""
        if state.global_step in self._marks:
            self._pause()
            self._mark(state)
            self._resumed = time.monotonic()
            control.should_log = True
        late = time.monotonic() - self._saved >= SECONDS_BETWEEN_SAVES
        if late and state.global_step < self._total:
            # The Trainer logs before it saves, so the sum of losses it holds is saved as well.
            control.should_log = control.should_save = True
            self._pause()
        next(self._ticks, None)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the step as whole, and only then delete the one before."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        (folder / WHOLE).touch()
        delete_steps(folder.parent, but=folder)
        self._saved = self._resumed = time.monotonic()

    def _pause(self) -> None:
        """Add the stretch of steps that ends here."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds += time.monotonic() - self._resumed

    def _mark(self, state: Any) -> None:
        loss = self._measure()
        if not math.isfinite(loss):
            raise DrawplateError(
                f"the held-out loss is {loss} after step {state.global_step} of {self._total}",
                "lower learning_rate, or look at the parent",
            )
        state.log_history.append({"step": state.global_step, HELD_OUT: loss})
        say(f"step {state.global_step}/{self._total}: held-out loss {loss:.4f} {self.unit}")


def as_callback(watch: Watch) -> Any:
    """A watch in the form that transformers' Trainer calls."""
    from transformers import TrainerCallback

    events = ("on_train_begin", "on_step_end", "on_save")
    methods = {name: staticmethod(getattr(watch, name)) for name in events}
    return type("WatchCallback", (TrainerCallback,), methods)()


def last_whole_step(folder: Path) -> Path | None:
    """The last step that was kept whole, or None; what a kill left half-written is deleted."""
    whole = [p.parent for p in folder.glob(f"checkpoint-*/{WHOLE}")]
    last = max(whole, key=lambda p: int(p.name.rpartition("-")[2]), default=None)
    delete_steps(folder, but=last)
    return last


def delete_steps(folder: Path, but: Path | None) -> None:
    """Delete every kept step but one."""
    for path in folder.glob("checkpoint-*"):
        if path != but:
            (path / WHOLE).unlink(missing_ok=True)  # first, lest half of it counts as whole
            shutil.rmtree(path)


def curve_of(history: list[dict[str, Any]]) -> Curve:
    """The curve in a Trainer's history.

    Returns:
        (step, held-out loss in nats, mean training loss since the step before), None for the
        training loss before the first step.
    """
    curve: Curve = []
    logged = sorted((row["step"], row["loss"]) for row in history if "loss" in row)
    for row in history:
        if HELD_OUT not in row:
            continue
        since = curve[-1][0] if curve else 0
        total, last = 0.0, since
        for step, loss in logged:
            if since < step <= row["step"]:
                total, last = total + loss * (step - last), step
        train = total / (last - since) if last > since else None
        curve.append((row["step"], row[HELD_OUT], train))
    return curve
