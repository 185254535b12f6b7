r"""Compile a checkpoint with the rounding of ONNX Runtime GenAI's own builder: the peer to beat.

The result is an engine folder like ours, so that `drawplate evaluate` and `drawplate benchmark`
measure both in the same way:

    python scripts/peer_onnxruntime.py --checkpoint artifacts/smollm2/base --precision int4 \
        --output peers/int4
    drawplate benchmark peers/int4 artifacts/smollm2/base.int4/engines/onnxruntime-cpu --json o.json
"""

import argparse
from pathlib import Path

from drawplate.artifacts.files import finished_folder, read_json, write_json
from drawplate.engines.onnxruntime import OPTIONS, SETTINGS, decoder, genai
from drawplate.engines.task import CAUSAL_LM, copy_processing
from drawplate.errors import one_line_errors

BUILDER_OPTIONS = ("accuracy_level=4", "block_size=32")


def main() -> None:
    """Read the arguments, build, write the engine's folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="float checkpoint folder")
    parser.add_argument("--precision", choices=("int4", "int8"), required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    with one_line_errors(), finished_folder(arguments.output) as folder:
        build(arguments.checkpoint, arguments.precision, folder)


def build(checkpoint: Path, precision: str, folder: Path) -> None:
    """Fill an engine folder."""
    import onnx

    scratch = folder / ".scratch"
    tied = read_json(checkpoint / "config.json").get("tie_word_embeddings", False)
    shared = f"shared_embeddings={str(bool(tied)).lower()}"
    decoder.build_graph(checkpoint, scratch, precision, (*BUILDER_OPTIONS, shared))
    model = onnx.load(scratch / "model.onnx", load_external_data=False)
    decoder.write_graphs(model, folder)
    for name in ("model.onnx.data", genai.GENAI_CONFIG):
        (scratch / name).replace(folder / name)
    for rest in scratch.iterdir():
        rest.unlink()
    scratch.rmdir()
    copy_processing(checkpoint, folder)
    write_json(folder / SETTINGS, {"engine": "onnxruntime", "task": CAUSAL_LM, **OPTIONS})


if __name__ == "__main__":
    main()
