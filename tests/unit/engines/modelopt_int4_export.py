"""Write down what nvidia-modelopt exports of a tiny Llama in INT4: names, dtypes and shapes.

For the test that holds folders for TensorRT-LLM against ModelOpt's own. By hand, in an environment
that has nvidia-modelopt beside the locked packages (0.47.0 was used):

    PYTHONPATH=. python tests/unit/engines/modelopt_int4_export.py
"""

import copy
import json
import tempfile
from importlib import metadata
from pathlib import Path

import torch
from safetensors.torch import load_file
from tests.tiny_engines import save_llama
from transformers import AutoModelForCausalLM

GROUP_SIZE = 64


def main() -> None:
    """Quantize, export, list."""
    import modelopt.torch.quantization as mtq
    from modelopt.torch.export import export_hf_checkpoint

    with tempfile.TemporaryDirectory() as scratch:
        folder, exported = Path(scratch, "model"), Path(scratch, "exported")
        save_llama(folder, tied=False)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16)
        config = copy.deepcopy(mtq.INT4_AWQ_CFG)
        _set_groups(config)
        ids = torch.randint(3, 500, (4, 32))
        mtq.quantize(model, config, lambda m: m(input_ids=ids))
        export_hf_checkpoint(model, export_dir=exported)
        tensors = {}
        for path in sorted(exported.glob("*.safetensors")):
            for name, tensor in load_file(path).items():
                tensors[name] = [str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
        quantization = json.loads((exported / "hf_quant_config.json").read_text())["quantization"]
    found = {
        "producer": f"nvidia-modelopt {metadata.version('nvidia-modelopt')}",
        "quantization": quantization,
        "tensors": dict(sorted(tensors.items())),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


def _set_groups(value: object) -> None:
    """Groups of 64 instead of the preset's 128, which the tiny model's widths do not hold."""
    if isinstance(value, dict):
        for key, entry in value.items():
            if key == "block_sizes" and isinstance(entry, dict):
                entry[-1] = GROUP_SIZE
            else:
                _set_groups(entry)
    elif isinstance(value, list):
        for entry in value:
            _set_groups(entry)


if __name__ == "__main__":
    main()
