"""The methods of llm-compressor in the configuration: what each is told, and which engine holds it."""

from pathlib import Path
from typing import get_args

import pytest

from drawplate.artifacts.formats import STORED_BY
from drawplate.build.workflow import load_build
from drawplate.config.library_steps import METHODS, LibraryQuantizeStep
from drawplate.errors import DrawplateError

ROOT = Path(__file__).parents[3]
AWQ, W8A8 = "+recipe@recipes.awq=awq", "+recipe@recipes.w8a8=w8a8"
SPARSE = "+recipe@recipes.sparse=sparse-2of4"
REFERENCE = "+engine@engines.transformers=transformers"
CHOICES = "choose one of gptq, rtn, hqq, awq, autoround, smoothquant-w8a8, smoothquant-w8a8-static, fp8, fp8-static, nvfp4"
MISTAKES = {
    # A method's options are its own.
    f"{AWQ} & +recipes.awq.steps.awq.bits=4": (
        "recipes.awq.steps.awq.bits is not a known setting: known here: grid, group_size, kind"
    ),
    f"{AWQ} & +recipes.awq.steps.awq.symetric=true": "did you mean 'symmetric'?",
    f"{AWQ} & recipes.awq.steps.awq.method=awk": f"steps.awq.method is 'awk': {CHOICES}",
    f"{AWQ} & ~recipes.awq.steps.awq.method": f"steps.awq.method is None: {CHOICES}",
    f"{AWQ} & recipes.awq.steps.awq.grid=2": "grid = 2 is wrong: it must be greater than or equal",
    f"{AWQ} & recipes.awq.steps.awq.group_size=20": "group_size = 20 is wrong",
    "+recipe@recipes.fp8=fp8 & +recipes.fp8.steps.fp8.windows=4": (
        "recipes.fp8.steps.fp8.windows is not a known setting: known here: kind, method"
    ),
    f"{W8A8} & recipes.w8a8.steps.w8a8.rounding=up": "rounding = 'up' is wrong",
    f"{W8A8} & recipes.w8a8.steps.w8a8.float_layers=[mlp.down_proj]": (
        "float_layers.0 = 'mlp.down_proj' is wrong: write the last part of the names of linear"
    ),
    f"{SPARSE} & recipes.sparse.steps.sparse-2of4.sparsity=0.6": (
        "steps.sparse-2of4: two of four are half: write sparsity: 0.5, or pattern: unstructured"
    ),
    f"{SPARSE} & recipes.sparse.steps.sparse-2of4.method=magnitude": "method = 'magnitude' is wrong",
    f"{AWQ} & +sparsify@recipes.awq.steps.zeros=2of4": "step zeros comes after awq, which quantizes",
    # Engines declare what they hold.
    f"{W8A8} & variants=null": (
        "engine onnxruntime cannot hold recipe w8a8: step w8a8 stores int-quantized/dynamic weights: "
        "choose an engine that can: transformers"
    ),
    f"{W8A8} & {REFERENCE} & engines.onnxruntime.holds.formats=[pack-quantized,int-quantized/dynamic]"
    " & variants=[float/openvino,w8a8/openvino]": (
        "engine openvino cannot hold recipe w8a8: step w8a8 stores int-quantized/dynamic weights: "
        "choose an engine that can: onnxruntime, transformers"
    ),
    f"{AWQ} & engines.onnxruntime.holds.int=[8] & variants=[float/onnxruntime,awq/onnxruntime]": (
        "engine onnxruntime cannot hold recipe awq: step awq makes int4 weights: it holds int8"
    ),
    f"{AWQ} & recipes.awq.steps.awq.group_size=48 & variants=[float/openvino,awq/openvino]": (
        "engine openvino cannot hold recipe awq: step awq has groups of 48"
    ),
}


@pytest.mark.parametrize("overrides", MISTAKES)
def test_a_mistake_is_one_line_that_says_what_to_write(overrides: str) -> None:
    with pytest.raises(DrawplateError) as caught:
        load_build({"overrides": overrides.split(" & ")}, ROOT)
    assert MISTAKES[overrides] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("recipe", ["awq", "sparse-2of4"])
def test_an_encoder_is_refused(recipe: str) -> None:
    overrides = [
        f"+recipe@recipes.more={recipe}",
        "variants=[float/transformers,more/transformers]",
    ]
    with pytest.raises(DrawplateError, match=r"is for language models: choose another method"):
        load_build({"experiment": "minilm", "overrides": overrides}, ROOT)


def test_a_kind_wide_override_reaches_the_methods_that_have_the_setting() -> None:
    overrides = ["quantize.windows=3", "quantize.group_size=64", "quantize.bits=8"]
    build = load_build({"experiment": "smollm2-methods", "overrides": overrides}, ROOT)
    steps = {s["method"]: s for r in build.recipes.values() for s in r.steps.values()}
    assert {m for m, s in steps.items() if s.get("windows") == 3} == steps.keys() - {"fp8"}
    assert {m for m, s in steps.items() if s.get("group_size") == 64} == {
        "gptq",
        "rtn",
        "awq",
        "autoround",
    }
    assert {m for m, s in steps.items() if "bits" in s} == {"gptq", "rtn"}


def test_every_method_is_known_where_it_must_be() -> None:
    models = get_args(LibraryQuantizeStep)
    methods = {m for model in models for m in get_args(model.model_fields["method"].annotation)}
    assert methods == set(METHODS)
    assert set(METHODS) | {"gptq", "rtn", "hqq"} == set(STORED_BY)


def test_the_methods_experiment_has_every_method_on_every_engine_that_holds_it() -> None:
    build = load_build({"experiment": "smollm2-methods"}, ROOT)
    pairs = set(build.pairs())
    for recipe, chain in build.recipes.items():
        for step in chain.steps.values():
            form = STORED_BY[step["method"]]
            holding = {n for n, e in build.engines.items() if form in e.holds.formats}
            assert {e for r, e in pairs if r == recipe} <= holding
    assert {r for r, _ in pairs} == set(build.recipes)
