"""Plain transformers: the reference that every other engine is held against."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drawplate.artifacts.audit import audit
from drawplate.artifacts.files import read_json, write_json
from drawplate.artifacts.manifest import MANIFEST
from drawplate.engines.pooling import mean_pool
from drawplate.engines.protocol import Engine
from drawplate.engines.task import architecture, checked_options, task_of
from drawplate.errors import DrawplateError

POINTER = "engine.json"
PROBLEMS_SHOWN = 5


def compile(
    checkpoint: Path, output: Path, options: dict[str, Any], threads: int
) -> dict[str, Any]:
    """Point at the checkpoint; nothing is converted. See `drawplate.engines.protocol.Compiler`."""
    checked_options(options, {}, "transformers")
    write_json(
        output / POINTER,
        {
            "engine": "transformers",
            "task": task_of(checkpoint),
            "checkpoint": os.path.relpath(checkpoint, output),
            "digest": _digest(checkpoint),
        },
    )
    return audit(checkpoint)


def checkpoint_of(folder: Path) -> Path:
    """The checkpoint a reference engine points at; any other folder is its own.

    Raises:
        DrawplateError: If the checkpoint has changed or gone since the engine was made.
    """
    if not (folder / POINTER).exists():
        return folder
    pointer = read_json(folder / POINTER)
    if "checkpoint" not in pointer:
        return folder
    checkpoint = Path(os.path.normpath(folder / pointer["checkpoint"]))
    if not checkpoint.is_dir():
        raise DrawplateError(
            f"{folder} points at {checkpoint}, which is not there",
            "this engine stays below its checkpoint; compile it again where the checkpoint is",
        )
    if _digest(checkpoint) != pointer["digest"]:
        raise DrawplateError(
            f"{checkpoint} is not the checkpoint that {folder} was made from", "compile it again"
        )
    return checkpoint


def load(folder: Path, threads: int) -> Engine:
    """Load a reference engine, or a checkpoint itself.

    Raises:
        DrawplateError: If there is no such checkpoint.
    """
    return Reference(checkpoint_of(folder), threads)


class Reference:
    """A checkpoint in transformers, float32, on the CPU.

    Packed weights are multiplied out at load, so that the reference is nobody's kernel. Where
    activations are quantized too, compressed-tensors rounds them as they come, in front of float
    products and in the checkpoint's own dtype: its NVFP4 works in bfloat16 alone.
    """

    def __init__(self, checkpoint: Path, threads: int) -> None:
        import torch
        import transformers

        from drawplate.checkpoint.quantized import NVFP4, PACKED_FORM, stored_form

        torch.set_num_threads(threads)
        self.task = task_of(checkpoint)
        kind = getattr(transformers, architecture(checkpoint))
        safe = {"dtype": torch.float32, "trust_remote_code": False, "local_files_only": True}
        # With what was missing filled in, the reference would be as wrong as what it is held
        # against, and both would agree.
        safe |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
        form = stored_form(checkpoint)
        if form == NVFP4:
            safe["dtype"] = torch.bfloat16
        if form == PACKED_FORM:
            config = transformers.AutoConfig.from_pretrained(checkpoint, trust_remote_code=False)
            del config.quantization_config
            packed = {"config": config, "state_dict": _dequantized(checkpoint)}
            model, found = kind.from_pretrained(None, **packed, **safe)
        else:
            model, found = kind.from_pretrained(checkpoint, **safe)
        _check_complete(checkpoint, found)
        self._model = model.eval()

    def logits(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `drawplate.engines.protocol.Engine.logits`."""
        import torch

        with torch.inference_mode():
            logits = self._model(input_ids=torch.from_numpy(token_ids), use_cache=False).logits
        array: NDArray[np.float32] = logits.float().numpy()
        return array

    def embed(self, token_ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `drawplate.engines.protocol.Engine.embed`."""
        import torch

        with torch.inference_mode():
            states = self._model(
                input_ids=torch.from_numpy(token_ids), attention_mask=torch.from_numpy(mask)
            ).last_hidden_state
        return mean_pool(states.numpy(), mask)

    def generate(
        self,
        token_ids: NDArray[np.int64],
        max_new_tokens: int,
        stop_ids: tuple[int, ...] = (),
        on_token: Callable[[], None] | None = None,
    ) -> NDArray[np.int64]:
        """See `drawplate.engines.protocol.Engine.generate`."""
        import torch

        past = None
        step = torch.from_numpy(token_ids)
        new: list[NDArray[np.int64]] = []
        stopped = np.zeros(len(token_ids), dtype=bool)
        while len(new) < max_new_tokens and not stopped.all():
            with torch.inference_mode():
                out = self._model(
                    input_ids=step, past_key_values=past, use_cache=True, logits_to_keep=1
                )
            past = out.past_key_values
            step = out.logits[:, -1].argmax(dim=-1, keepdim=True)
            new.append(step[:, 0].numpy())
            stopped |= np.isin(new[-1], stop_ids)
            if on_token:
                on_token()
        return np.stack(new, axis=1)

    def version(self) -> str:
        """See `drawplate.engines.protocol.Engine.version`."""
        import transformers

        return f"transformers {transformers.__version__}"


def _digest(checkpoint: Path) -> str | None:
    """The checkpoint's digest, None where it has no manifest, or one that does not say it."""
    if not (checkpoint / MANIFEST).exists():
        return None
    manifest = read_json(checkpoint / MANIFEST)
    return manifest.get("digest") if isinstance(manifest, dict) else None


def _check_complete(checkpoint: Path, found: dict[str, Any]) -> None:
    """Refuse what transformers filled in with values of its own.

    Raises:
        DrawplateError: If tensors are missing or of another shape; it names up to five.
    """
    # Nothing reads an encoder's pooler, and some checkpoints come without.
    missing = [name for name in found["missing_keys"] if not name.startswith("pooler.")]
    problems = [f"{name} is missing" for name in sorted(missing)]
    problems += [
        f"{name} has shape {list(stored)}, the architecture wants {list(wanted)}"
        for name, stored, wanted in sorted(found["mismatched_keys"])
    ]
    if problems:
        more = len(problems) - PROBLEMS_SHOWN
        raise DrawplateError(
            f"{checkpoint} is incomplete: {'; '.join(problems[:PROBLEMS_SHOWN])}"
            + (f"; and {more} more" if more > 0 else ""),
            "build it again",
        )


def _dequantized(checkpoint: Path) -> dict[str, Any]:
    """Every tensor of a packed checkpoint in float32, by full name."""
    from drawplate.checkpoint.quantized import read_float, read_quantized

    tensors = {name: tensor.float() for name, tensor in read_float(checkpoint).items()}
    for name, packed in read_quantized(checkpoint).items():
        tensors[f"{name}.weight"] = packed.dequantize()
    return tensors
