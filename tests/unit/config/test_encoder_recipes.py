"""What an encoder's recipes may hold, refused when composed."""

from pathlib import Path

import pytest

from drawplate.config.compose import load
from drawplate.errors import DrawplateError

CONF = Path(__file__).parents[3] / "conf"


def test_the_shipped_experiment_has_every_step():
    build = load(CONF, "minilm")
    steps = {label: step for r in build.recipes.values() for label, step in r.steps.items()}
    assert steps["int8-dynamic"]["activations"] == "dynamic"
    assert steps["int8-static"]["activations"] == "static"
    assert steps["kd"]["loss"] == "embeddings"
    assert steps["w75"]["kind"] == "prune"
    assert ("w75-kd-int8-dynamic", "onnxruntime") in build.pairs()


@pytest.mark.parametrize(
    ("experiment", "override", "message"),
    [
        (
            "minilm",
            "variants=[float/openvino,int8-static/openvino]",
            r"openvino cannot hold .* int-quantized/static weights: choose an engine that can: onnxruntime,",
        ),
        (
            "minilm",
            "prune.kv_group_share=0.25",
            r"does not fit a base of task encoder: .* write kv_group_share: 0.0",
        ),
        (
            "minilm",
            "+recover@recipes.w75.steps.lora=lora",
            r"step lora does not fit a base of task encoder: .* write a distill step",
        ),
        (
            "minilm",
            "+recipes.int4.steps.int4.bits_per_weight=5",
            r"no loss to measure sensitivity by: write null for its budget",
        ),
        (
            "minilm",
            "recipes.w75-kd.steps.kd.loss=logits",
            r"loss: logits needs temperature and top_k",
        ),
        (
            "minilm",
            "recipes.w75-kd.steps.kd.top_k=8",
            r"loss: embeddings knows no distribution: temperature and top_k are null",
        ),
        (
            "minilm",
            "+recipes.w75-kd.steps.kd.on_policy_share=0.5",
            r"an encoder writes no text to judge: write on_policy_share: 0.0",
        ),
        (
            "minilm",
            "recipes.int8-dynamic.steps.int8-dynamic.bits=4",
            r"activations: dynamic needs 8-bit weights .* group_size: null",
        ),
        (
            "minilm",
            "recipes.int8.steps.int8.group_size=null",
            r"group_size: null is for rounded activations; write group_size: 32",
        ),
        (
            "smollm2",
            "+recipe@recipes.x=enc-int8-dynamic",
            r"recipe x: step int8-dynamic does not fit a base of task causal-lm: .* activations: none",
        ),
    ],
)
def test_what_has_no_meaning_is_refused_with_a_remedy(experiment, override, message):
    overrides = [override]
    if override.startswith("prune."):  # the map of overrides names only what it knows
        overrides = ["+" + override]
    with pytest.raises(DrawplateError, match=message):
        load(CONF, experiment, overrides)
