"""Load a checkpoint in plain transformers, in a process of its own, and take its perplexity.

`python -m drawplate.llmcompressor.reload REQUEST.json`; the answer goes beside the request.
"""

import sys
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json, write_json
from drawplate.llmcompressor.worker import perplexity


def main(request_file: Path) -> None:
    """Do what a request asks for.

    The request holds `folder`, `held_out` (token ids [windows, tokens]), `dtype` and `threads`; the
    answer `perplexity`, and `incomplete`: names of what the folder lacks or has in another shape.
    """
    import torch
    from transformers import AutoModelForCausalLM

    request: dict[str, Any] = read_json(request_file)
    torch.set_num_threads(request["threads"])
    model, found = AutoModelForCausalLM.from_pretrained(
        request["folder"],
        dtype=getattr(torch, request["dtype"]),
        output_loading_info=True,
        local_files_only=True,
        trust_remote_code=False,
    )
    incomplete = [*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])]
    answer = {
        "perplexity": perplexity(model.eval(), request["held_out"]),
        "incomplete": sorted(incomplete),
    }
    write_json(request_file.with_name("answer.json"), answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
