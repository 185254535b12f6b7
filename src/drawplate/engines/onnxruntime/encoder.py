"""Sentence encoders: exported by transformers, run by ONNX Runtime itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drawplate.engines.pooling import mean_pool
from drawplate.errors import DrawplateError

GRAPH = "model.onnx"
FILES = (GRAPH, "model.onnx.data")
STATES = "last_hidden_state"


def build_graph(checkpoint: Path, folder: Path) -> None:
    """Write the float32 graph of an encoder with free batch and sequence.

    Args:
        checkpoint: Float checkpoint in Hugging Face format.
        folder: Where `model.onnx` and its data go.
    """
    import contextlib
    import io

    import torch
    from transformers import AutoModel
    from transformers.exporters import OnnxConfig, OnnxExporter

    model = AutoModel.from_pretrained(
        checkpoint, dtype=torch.float32, trust_remote_code=False, local_files_only=True
    ).eval()
    free = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    inputs = {name: torch.ones(2, 9, dtype=torch.int64) for name in ("input_ids", "attention_mask")}
    config = OnnxConfig(dynamic_shapes=dict.fromkeys(inputs, free))
    with contextlib.redirect_stdout(io.StringIO()):
        OnnxExporter().export(model, inputs, config).save_pretrained(folder)


def write_graph(model: Any, output: Path) -> None:
    """Write the graph."""
    import onnx

    onnx.save(model, output / GRAPH)


class Loaded:
    """A sentence encoder in ONNX Runtime."""

    task = "encoder"

    def __init__(self, folder: Path, threads: int, session_options: dict[str, str]) -> None:
        from drawplate.engines.onnxruntime.decoder import open_session

        self._folder = folder
        self._session = open_session(folder / GRAPH, threads, session_options)

    def logits(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """An encoder has no next token.

        Raises:
            DrawplateError: Always.
        """
        raise DrawplateError(f"{self._folder} is an encoder", "give a causal language model")

    def embed(self, token_ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `drawplate.engines.protocol.Engine.embed`."""
        feeds = {"input_ids": token_ids, "attention_mask": mask}
        return mean_pool(self._session.run([STATES], feeds)[0], mask)

    def generate(
        self,
        token_ids: NDArray[np.int64],
        max_new_tokens: int,
        stop_ids: tuple[int, ...] = (),
        on_token: Callable[[], None] | None = None,
    ) -> NDArray[np.int64]:
        """An encoder does not generate.

        Raises:
            DrawplateError: Always.
        """
        raise DrawplateError(f"{self._folder} is an encoder", "give a causal language model")

    def version(self) -> str:
        """See `drawplate.engines.protocol.Engine.version`."""
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__}"
