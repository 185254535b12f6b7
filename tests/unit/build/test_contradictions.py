"""What the base's sizes alone refute is refused before any job, through the real configuration."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
from tests.tiny import write_model

from drawplate.build.contradictions import (
    _check_room,
    check,
    problem,
    refuse_contradictions,
)
from drawplate.build.estimate import GUESS, known_sizes
from drawplate.build.shapes import architecture_of, guessed
from drawplate.build.workflow import make_plan
from drawplate.errors import DrawplateError
from drawplate.quantize.options import QuantizeOptions

ROOT = Path(__file__).parents[3]
SIZED = "+base.architecture.max_position_embeddings="
MIXED = "recipes.mixed4.steps.mixed4"
BYTES = f"{MIXED}.bits_per_weight=null {MIXED}.budget_megabytes"
REFUSED = {
    "quantize.group_size=128": (
        "quantize base.int8: group_size 128 does not divide the 576 columns of self_attn.q_proj "
        "(sizes from base.architecture as declared): choose one of 16, 32, 64"
    ),
    "recipes.int4.steps.int4.method=hqq recipes.int4.steps.int4.group_size=256": (
        "quantize base.int4: group_size 256 does not divide the 576 columns"
    ),
    # 74% of 1536 channels, in multiples of 16 or 8.
    "prune.mlp_share=0.26 ++prune.multiple_of=16": (
        "quantize base.w75.kd.int4: group_size 32 does not divide the 1136 columns of "
        "mlp.down_proj .*: choose one of 16$"
    ),
    "prune.mlp_share=0.2552 ++prune.multiple_of=8": (
        "quantize base.w75.kd.int4: group_size 32 does not divide the 1144 columns of "
        "mlp.down_proj .*: no group size, a multiple of 16, divides those of all layers"
    ),
    f"{MIXED}.candidates=[4/128,8/32]": (
        "quantize base.mixed4: candidates: groups of 128 do not divide the 576 columns of "
        "self_attn.q_proj .*: name groups of 16 or 32 or 64 only"
    ),
    f"{BYTES}=60": (
        "quantize base.mixed4: budget_megabytes 60 leaves 0.1[0-9] bits a weight beside 56.77 MB "
        "of embeddings and norms .*: write 130.3[0-9] or more, or smaller candidates"
    ),
    f"{BYTES}=50": "budget_megabytes 50 leaves nothing beside 56.77 MB",
    "prune.layers=29": "prune base.w75: layers: 29 of 30 cannot go, .*: write at most layers: 28",
    "prune.layers=27 prune.keep_layers=[0,5,30]": (
        "prune base.w75: keep_layers: [0, 5, 30] are not the 3 of 30 layers .*: write indices "
        "below 30, and layers: 27"
    ),
    "prune.layers=3 prune.keep_layers=[0,1]": "keep_layers: [0, 1] are not the 27 of 30 layers",
    "++prune.multiple_of=1536": "prune base.w75: mlp_share: 0.25 of 1536 channels removes none",
    "++prune.kv_group_share=0.1": (
        "prune base.w75: kv_group_share: 0.1 of 3 removes none .*: write kv_group_share: 0.333"
    ),
    "++prune.hidden_share=0.01": "prune base.w75: hidden_share: 0.01 of 576 removes none",
    "++distill.top_k=50000": "distill base.w75.kd: top_k 50000 is more than the 49152 tokens of base",
    "++distill.hidden_weight=0.1 ++distill.hidden_layers=31": (
        "distill base.w75.kd: hidden_layers 31 is more than the 30 layers of its teacher base"
    ),
    "++distill.hidden_weight=0.1 ++distill.hidden_layers=30 prune.layers=2": (
        "distill base.w75.kd: hidden_layers 30 is more than the 28 layers of the student"
    ),
    "++recover.rank=577": "recover base.w75.lora: rank 577 is more than the 576 features of the",
    "++recover.rank=200 recover.trained=all": "rank 200 is more than the 192 .*: write rank: 192",
    "+engine@engines.tensor_parallel=tensor_parallel variants=[float/tensor_parallel]": (
        "compile base/tensor_parallel-cpu: 2 ranks do not divide 9 attention heads, 3 key/value "
        "heads and 1536 MLP features .*: set ranks to 1 or 3"
    ),
    f"{SIZED}512": (
        "benchmark float-onnxruntime-cpu: benchmark.prompt_tokens 512 is too long for a model that "
        "takes 512 tokens, the first new one among them .*: write benchmark.prompt_tokens=511"
    ),
    f"{SIZED}640 benchmark.decode_prompt_tokens=600": (
        "benchmark.decode_prompt_tokens 600 and benchmark.new_tokens 48 make 648, the model takes 640"
    ),
    f"{SIZED}640 sweep.build=true sweep.prompt_tokens=609": (
        "sweep.prompt_tokens 609 and sweep.new_tokens 32 make 641, the model takes 640: lower one"
    ),
    f"{SIZED}768 recipes.int4.steps.int4.window_tokens=1024": (
        "quantize base.int4: window_tokens 1024 is more than the 768 tokens .*: write window_tokens: "
        "768 or less"
    ),
    f"{SIZED}768 prune.window_tokens=1024": "prune base.w75: window_tokens 1024 is more than the 768",
    f"{SIZED}768 distill.window_tokens=1024": "window_tokens 1024 is more than the 768",
    f"{SIZED}768 recover.window_tokens=1024": "recover base.w75.lora: window_tokens 1024",
    "recipes.int4.steps.int4.windows=3000": (
        "quantize base.int4: windows and window_tokens ask for 1536000 tokens, there are 800000 "
        "bytes of calibration text"
    ),
    "distill.held_out_windows=6000 distill.window_tokens=256": "windows and window_tokens ask for",
    "prune.mlp_share=0 ++prune.target_parameters=0.2": (
        "prune base.w75: target_parameters: 0.2 is out of reach of direction: width .*: "
        "write at least [0-9]"
    ),
    "prune.mlp_share=0 ++prune.target_parameters=0.35": "of direction: width .*: write direction: depth",
    "prune.mlp_share=0 ++prune.target_parameters=0.8 ++prune.multiple_of=4000": (
        "target_parameters: 0.8 is out of reach of direction: width .*: write direction: depth"
    ),
    "prune.mlp_share=0 ++prune.target_parameters=200000000": "the parent meets the target as it is",
    "prune.mlp_share=0 ++prune.target_decode_speedup=50": "target_decode_speedup: 50.* write at most",
}
ENCODER = {
    "recipes.int4.steps.int4.group_size=256": "group_size 256 does not divide the 384 columns of attention.self",
    "prune.layers=5": "prune base.w75: layers: 5 of 6 cannot go",
    "prune.window_tokens=1024": "prune base.w75: window_tokens 1024 is more than the 512",
    "benchmark.prompt_tokens=513": "write benchmark.prompt_tokens=512 or less",
    "package.build=true package.limits.max_prompt_tokens=513": (
        "package.limits allows texts of 513 tokens, the model takes 512: write package.limits"
    ),
}
REFUSED[
    "package.build=true package.limits.max_prompt_tokens=8192 "
    "++base.architecture.max_position_embeddings=8192"
] = "package.limits allows 8448 tokens of prompt and answer, the model takes 8192: lower"
# What is left alone: no window is read, no layer must be divided, an adapter is not trained.
ALLOWED = (
    f"{SIZED}640",
    f"{SIZED}768 +recipes.int8.steps.int8.window_tokens=1024 evaluate.window_tokens=1024",
    f"{BYTES}=131",
    "prune.layers=28",
    "++recover.rank=10000 ++recover.method=full",
    "+engine@engines.tensor_parallel=tensor_parallel variants=[float/tensor_parallel] "
    "engines.tensor_parallel.options.ranks=3",
)


def door(overrides, root, experiment="smollm2"):
    plan = make_plan({"experiment": experiment, "overrides": overrides.split(" ")}, ROOT)
    sizes, origin = known_sizes(plan, root)
    refuse_contradictions(plan, sizes, origin, root)


def pattern(said):
    """A regular expression of what is said word by word, with `.*` where anything may stand."""
    parts = re.split(r"(\.\*|\[0-9\]|\$$)", said)
    return "".join(part if n % 2 else re.escape(part) for n, part in enumerate(parts))


@pytest.mark.parametrize("overrides", REFUSED)
def test_a_refuted_setting_is_refused_at_the_door(overrides, tmp_path):
    with pytest.raises(DrawplateError, match=pattern(REFUSED[overrides])) as failure:
        door(overrides, tmp_path)
    assert failure.value.remedy and "\n" not in str(failure.value)


def test_vllm_has_no_attention_for_every_size_of_heads(tmp_path):
    said = "compile base/vllm-cpu: engine vllm has no attention for heads of 48.*: it has 32, 64"
    with pytest.raises(DrawplateError, match=pattern(said)):
        door("base.architecture.head_dim=48 variants=[float/vllm]", tmp_path, "servers")


def test_an_engine_is_not_timed_on_more_tokens_than_it_was_made_for(tmp_path):
    room = "variants=[float/vllm] engines.vllm.options.max_model_len"
    door(f"{room}=513", tmp_path, "servers")
    said = "benchmark float-vllm-cpu: benchmark.prompt_tokens and a token make 513, .* takes 512"
    with pytest.raises(DrawplateError, match=pattern(said)):
        door(f"{room}=512", tmp_path, "servers")
    said = "benchmark.decode_prompt_tokens and benchmark.new_tokens make 600, the engine takes 599"
    with pytest.raises(DrawplateError, match=pattern(said)):
        door(f"{room}=599 benchmark.decode_prompt_tokens=552", tmp_path, "servers")


def test_an_engine_is_not_timed_on_more_rows_than_it_was_made_for():
    timed = {"batch": 16, "prompt_tokens": 512, "decode_prompt_tokens": 128, "new_tokens": 48}
    with pytest.raises(DrawplateError, match=r"benchmark\.batch is 16, the engine takes 8 rows"):
        _check_room(timed, {"max_batch": 8, "max_tokens": 2048})
    _check_room(timed, {"max_batch": 16, "max_tokens": 2048})
    _check_room(timed, {})


@pytest.mark.parametrize("overrides", ENCODER)
def test_an_encoders_too(overrides, tmp_path):
    with pytest.raises(DrawplateError, match=pattern(ENCODER[overrides])):
        door(overrides, tmp_path, "minilm")


@pytest.mark.parametrize("overrides", ALLOWED)
def test_what_can_be_built_is_not_refused(overrides, tmp_path):
    door(overrides, tmp_path)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("llama", {}, None),
        ("gemma", {}, "compile base/onnxruntime-cpu: onnxruntime does not know the architecture"),
        ("mistral", {"sliding_window": 100}, "the model to the last 100 tokens (sliding_window)"),
        ("gpt2", {}, "quantize base.int4: GPT2LMHeadModel is no decoder of the Llama architecture"),
    ],
)
def test_what_no_engine_or_step_knows_is_refused_at_the_door(name, changes, said, tmp_path):
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(name, **changes)
    kind = AutoModelForCausalLM._model_mapping[type(config)]
    config.architectures = [kind.__name__]
    config.save_pretrained(tmp_path)
    source = f"base.source.path={tmp_path} base.source.sha256={'0' * 64} base.source.license=MIT"
    overrides = f"base=folder model=mine {source} variants=[float/onnxruntime]"
    if name == "gpt2":
        overrides = overrides.replace("variants=[", "variants=[int4/onnxruntime,")
    if said is None:
        door(overrides, tmp_path)
        return
    with pytest.raises(DrawplateError, match=pattern(said)):
        door(overrides, tmp_path)


@pytest.mark.parametrize("text", ['{"architectures": ["Llama', "[]", ""])
def test_a_config_that_nobody_can_read_is_refused_at_the_door(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    source = f"base.source.path={tmp_path} base.source.sha256={'0' * 64} base.source.license=MIT"
    with pytest.raises(DrawplateError, match=r"config.json is no JSON object: bring"):
        door(f"base=folder model=mine {source}", tmp_path)


@pytest.mark.parametrize("path", sorted((ROOT / "conf/experiment").glob("*.yaml")))
def test_no_experiment_of_the_repository_is_refused(path, tmp_path):
    plan = make_plan({"experiment": path.stem}, ROOT)
    refuse_contradictions(plan, *known_sizes(plan, tmp_path), tmp_path)


def test_guesses_refute_nothing_nor_do_predictions(tmp_path):
    plan = make_plan({"experiment": "smollm2", "overrides": ["quantize.group_size=128"]}, ROOT)
    refuse_contradictions(plan, guessed(10**8), GUESS, tmp_path)
    refuse_contradictions(plan, None, "nothing", tmp_path)
    sizes, origin = known_sizes(plan, tmp_path)
    pruned = (
        "prune.mlp_share=0 ++prune.target_parameters=0.9 ++prune.multiple_of=8 "
        "recipes.distilled-pruned-int4.steps.int4.group_size=64"
    )
    door(pruned, tmp_path)
    plan = dataclasses.replace(plan, nodes=[n for n in plan.nodes if n.stage != "quantize"])
    refuse_contradictions(plan, sizes, origin, tmp_path)


def test_what_is_built_already_is_not_asked(tmp_path, monkeypatch):
    plan = make_plan({"experiment": "smollm2", "overrides": ["quantize.group_size=128"]}, ROOT)
    kind = type(plan.nodes[0])
    monkeypatch.setattr(kind, "fresh", lambda node, root: node.stage == "quantize")
    sizes = architecture_of(plan.base["architecture"])
    refuse_contradictions(plan, sizes, "there", tmp_path)


@pytest.mark.parametrize("megabytes", [0.05, 0.08])
def test_a_budget_is_refused_in_the_steps_own_words(megabytes, tmp_path):
    from drawplate.layerwise.decoder import open_decoder
    from drawplate.quantize.walk import _budget

    write_model(tmp_path / "model")
    sizes = architecture_of(json.loads((tmp_path / "model/config.json").read_text()))
    options = QuantizeOptions(budget_megabytes=megabytes)
    with pytest.raises(DrawplateError) as late:
        _budget(open_decoder(tmp_path / "model"), tmp_path / "model", options)
    with pytest.raises(DrawplateError) as early:
        check("quantize", dataclasses.asdict(options), sizes, None)
    assert str(early.value) == str(late.value)


def test_a_chain_of_a_search_is_followed_step_by_step():
    plan = make_plan({"experiment": "smollm2"}, ROOT)
    sizes = architecture_of(plan.base["architecture"])
    step = {"kind": "prune", "mlp_share": 0.26, "kv_group_share": 0.0, "layers": 0}
    step |= {"multiple_of": 16, "score": "magnitude", "refit": "none", "hidden_share": 0.0}
    int4 = {"kind": "quantize", **dataclasses.asdict(QuantizeOptions())}
    data = plan.of("data")[0].config
    assert problem({"w": step | {"multiple_of": 32}, "int4": int4}, sizes, data) is None
    said = problem({"w": step, "int4": int4}, sizes, data)
    assert said is not None and said.startswith("step int4: group_size 32 does not divide the 1136")
    said = problem({"int4": int4 | {"windows": 10_000}}, sizes, data)
    assert said is not None and "bytes of calibration text" in said


def test_a_student_is_asked_if_its_files_are_here(tmp_path):
    (tmp_path / "small").mkdir()
    source = f"{{kind: folder, path: {tmp_path}/small, sha256: '{'0' * 64}', license: MIT}}"
    place = "recipes.own.steps.own.student"
    chain = (
        "+distill@recipes.own.steps.own=student_example",
        "+quantize@recipes.own.steps.int4=int4",
        f"~{place}",
        f"+{place}={{name: small, source: {source}}}",
        "variants=[float/onnxruntime,own/onnxruntime]",
    )
    plan = make_plan({"experiment": "smollm2", "overrides": list(chain)}, ROOT)
    refuse_contradictions(plan, *known_sizes(plan, tmp_path), tmp_path)
    sizes = plan.base["architecture"] | {"intermediate_size": 1500}
    (tmp_path / "small/config.json").write_text(json.dumps(sizes))
    with pytest.raises(DrawplateError, match=r"base.own.int4: .* 1500 columns .*small/config.json"):
        refuse_contradictions(plan, *known_sizes(plan, tmp_path), tmp_path)
