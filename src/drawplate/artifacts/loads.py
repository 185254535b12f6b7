"""What plain transformers makes of a checkpoint, asked without loading a weight.

transformers fills in what is missing with random numbers or ones and leaves out what it does not
know, both with no more than a warning. On the meta device, headers stand for the tensors, and its
own loader sorts them by the rules it loads by, so that tied heads, old names, buffers and the parts
of quantized weights are known to it.
"""

import contextlib
import io
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json
from drawplate.errors import DrawplateError


def sort_tensors(
    folder: Path, shapes: dict[str, list[int]], source: str
) -> tuple[Any, dict[str, Any]]:
    """The architecture without weights, and what transformers says of tensors of these shapes.

    Args:
        folder: A checkpoint with its config.json, float or in a form that transformers reloads.
        shapes: Shape of every stored tensor by name.
        source: How messages call the checkpoint.

    Returns:
        The model on the meta device, and the loader's `missing_keys`, `unexpected_keys` and
        `mismatched_keys` (name, stored shape, wanted shape).

    Raises:
        DrawplateError: If transformers has no such architecture or cannot build it.
    """
    import torch
    import transformers
    from transformers.utils import logging

    name = read_json(folder / "config.json")["architectures"][0]
    kind: Any = getattr(transformers, name, None)
    is_model = isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)
    if not is_model:
        raise DrawplateError(
            f"transformers {transformers.__version__} has no architecture {name} for {source}",
            "choose a model whose architecture is part of transformers",
        )
    logging.disable_progress_bar()
    said = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)  # its table of what differs: told by the caller
    tensors = {n: torch.empty(s, device="meta") for n, s in shapes.items()}
    try:
        config = transformers.AutoConfig.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
        with contextlib.redirect_stderr(io.StringIO()):  # bars of compressed-tensors
            model, found = kind.from_pretrained(
                None,
                config=config,
                state_dict=tensors,
                device_map={"": "meta"},
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except Exception as error:  # whatever an impossible config runs into
        # The library's first line can be half a page.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        # A first line that ends with a colon only says that the next one tells.
        told = lines[:2] if lines and lines[0].endswith(":") else lines[:1]
        gist = " ".join(told or [type(error).__name__])[:200]
        raise DrawplateError(
            f"transformers {transformers.__version__} cannot make a {name} of {source} ({gist})",
            "correct config.json, or choose a model that transformers knows",
        ) from None
    finally:
        logging.set_verbosity(said)
    return model, found
