import pytest
import torch
from transformers import AutoModelForCausalLM

from drawplate.layerwise.decoder import UNITS, open_decoder
from drawplate.layerwise.workers import workers
from drawplate.quantize import sensitivity
from drawplate.quantize.allot import Form
from drawplate.quantize.grid import round_to_nearest
from drawplate.quantize.sensitivity import draw_labels, head_gradient, measure_harm

WINDOWS = torch.randint(0, 256, (2, 24), generator=torch.Generator().manual_seed(0))
FORMS = [Form(4, 32), Form(8, 16)]


def rounding_error(weight, form):
    rounded = round_to_nearest(weight, form.bits, form.group_size, False, searched=form.bits < 8)
    return rounded.dequantize() - weight


def harm_through_the_whole_model(folder, labels):
    """The same quantity by one backward pass through the whole model of transformers."""
    model = AutoModelForCausalLM.from_pretrained(folder).requires_grad_(False)
    changes = {}
    for window, targets in zip(WINDOWS.split(1), labels.split(WINDOWS.shape[1]), strict=True):
        records = {}
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear):
                module.register_forward_hook(
                    lambda m, inputs, output, n=name: records.update({n: (inputs[0], output)})
                )
        embedded = model.model.embed_tokens(window).requires_grad_()
        logits = model(inputs_embeds=embedded).logits
        for _, output in records.values():
            output.retain_grad()
        torch.nn.functional.cross_entropy(logits[0], targets, reduction="sum").backward()
        units = {
            f"model.layers.{index}.{unit}": [f"model.layers.{index}.{m}" for m in modules]
            for index in range(2)
            for unit, modules in UNITS.items()
        }
        for name, modules in (units | {"lm_head": ["lm_head"]}).items():
            for form in FORMS:
                change = 0
                for module in modules:
                    inputs, output = records[module]
                    error = rounding_error(model.get_submodule(module).weight, form)
                    change = change + ((inputs @ error.t()) * output.grad).sum(-1)
                changes.setdefault((name, form), []).append(change.square())
    return {key: 0.5 * torch.cat(parts).mean().item() for key, parts in changes.items()}


def test_layer_by_layer_gives_what_one_backward_pass_gives(tiny_llama, tmp_path, monkeypatch):
    drawn = []

    def keep_labels(*arguments):
        drawn.append(draw_labels(*arguments))
        return drawn[-1]

    monkeypatch.setattr(sensitivity, "draw_labels", keep_labels)
    monkeypatch.setattr(sensitivity, "VOCABULARY_ROWS", 100)  # the last chunk is a short one
    with workers(2) as pool:
        units = measure_harm(open_decoder(tiny_llama), WINDOWS, FORMS, False, 7, tmp_path, pool)
    expected = harm_through_the_whole_model(tiny_llama, drawn[0][0])
    found = {(unit.name, form): harm for unit in units for form, harm in unit.harms.items()}
    assert found == pytest.approx(expected, rel=1e-3)
    assert {unit.name: unit.weights for unit in units}["model.layers.0.qkv"] == 64 * (64 + 32 + 32)
    assert not list(tmp_path.iterdir())


def test_the_heads_gradient_is_that_of_cross_entropy_in_float64():
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(40, 16, generator=generator)
    head = torch.randn(50, 16, generator=generator)
    with workers(1) as pool:
        labels, scale = draw_labels(states, head.split(20), 3, pool)
        gradient, changes = head_gradient(
            states, head.split(20), labels, scale, [Form(4, 16)], False, pool
        )
    exact, weight = states.double().requires_grad_(), head.double()
    logits = exact @ weight.t()
    torch.nn.functional.cross_entropy(logits, labels, reduction="sum").backward()
    torch.testing.assert_close(gradient.double(), exact.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scale.double(), logits.logsumexp(-1), rtol=1e-5, atol=1e-5)
    slopes = logits.softmax(-1) - torch.nn.functional.one_hot(labels, 50)
    error = rounding_error(head, Form(4, 16)).double()
    change = (slopes * (exact @ error.t())).sum(-1).detach()
    torch.testing.assert_close(changes[Form(4, 16)].double(), change, rtol=1e-3, atol=1e-5)


def test_labels_follow_the_models_own_prediction():
    states, head = torch.zeros(20000, 1), torch.zeros(3, 1)
    states[:] = 1.0
    head[:, 0] = torch.tensor([0.5, 0.3, 0.2]).log()
    with workers(1) as pool:
        labels, _ = draw_labels(states, head.split(2), 0, pool)
    shares = torch.bincount(labels, minlength=3) / 20000
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.3, 0.2]), rtol=0, atol=0.02)
