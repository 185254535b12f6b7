import pytest
import torch
from transformers import AutoModelForCausalLM

from drawplate.layerwise.decoder import UNITS, open_decoder
from drawplate.layerwise.workers import workers
from drawplate.quantize.grid import round_to_nearest
from drawplate.quantize.sensitivity import measure_harm

WINDOWS = torch.randint(0, 256, (2, 24), generator=torch.Generator().manual_seed(0))


def harm_through_the_whole_model(folder, seed):
    """The same quantity by one backward pass through the whole model of transformers."""
    model = AutoModelForCausalLM.from_pretrained(folder).requires_grad_(False)
    squares = {}
    for number, window in enumerate(WINDOWS.split(1)):
        records = {}
        hooks = [
            module.register_forward_hook(
                lambda m, inputs, output, n=name: records.update({n: (inputs[0], output)})
            )
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and name != "lm_head"
        ]
        embedded = model.model.embed_tokens(window).requires_grad_()
        logits = model(inputs_embeds=embedded).logits[0]
        for _, output in records.values():
            output.retain_grad()
        generator = torch.Generator().manual_seed(seed + number)
        labels = torch.multinomial(logits.detach().softmax(-1), 1, generator=generator)
        torch.nn.functional.cross_entropy(logits, labels[:, 0], reduction="sum").backward()
        for hook in hooks:
            hook.remove()
        for index in range(2):
            for unit, modules in UNITS.items():
                change = 0
                for path in modules:
                    name = f"model.layers.{index}.{path}"
                    weight = model.get_submodule(name).weight
                    step = round_to_nearest(weight, 4, 32, False, searched=True)
                    inputs, output = records[name]
                    delta = inputs @ (step.dequantize() - weight).t()
                    change = change + (delta * output.grad).sum(-1)
                squares.setdefault(f"model.layers.{index}.{unit}", []).append(change.square())
    return {name: 0.5 * torch.cat(parts).mean().item() for name, parts in squares.items()}


def test_layer_by_layer_gives_what_one_backward_pass_gives(tiny_llama):
    expected = harm_through_the_whole_model(tiny_llama, seed=7)
    with workers(2) as pool:
        units = measure_harm(open_decoder(tiny_llama), WINDOWS, 32, False, 7, pool)
    assert {unit.name: unit.harm for unit in units} == pytest.approx(expected, rel=1e-3)
    assert {unit.name: unit.weights for unit in units}["model.layers.0.qkv"] == 64 * (64 + 32 + 32)
