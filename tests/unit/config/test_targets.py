"""Which targets a variant may have: told when the configuration is composed."""

from pathlib import Path

import pytest

from drawplate.config.compose import load
from drawplate.errors import DrawplateError

CONF = Path(__file__).parents[3] / "conf"


def variants(*lines: str) -> list[str]:
    return [f"variants=[float/tensorrt_rtx,{','.join(lines)}]"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fp8/tensorrt_rtx", "sm80, sm86 cannot compute with the float-quantized/static weights"),
        ("fp8/tensorrt_rtx", "list fp8/tensorrt_rtx/sm89, fp8/tensorrt_rtx/sm120 instead"),
        ("fp8/tensorrt_rtx/sm80", "list fp8/tensorrt_rtx/sm89, .*/sm120, .*/sm121 instead"),
        (
            "int4/tensorrt_rtx/sm90",
            "does not know target 'sm90'.*engine tensorrt or tensorrt_llm knows that one",
        ),
        ("int4/tensorrt_rtx/sm99", "does not know target 'sm99': it knows portable, sm80"),
    ],
)
def test_a_target_that_cannot_is_refused_with_those_that_can(line, said):
    with pytest.raises(DrawplateError, match=said):
        load(CONF, "tensorrt", variants(line))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("int4/tensorrt_llm", "int4 has zero points: write symmetric: true"),
        ("w8a8/tensorrt_llm", "stores int-quantized/dynamic weights: choose an engine that can"),
        ("int4-server/tensorrt_llm/sm120", "sm120 cannot compute with the pack-quantized weights"),
        ("fp8/tensorrt_llm/sm80", "list fp8/tensorrt_llm/sm89, fp8/tensorrt_llm/sm90"),
    ],
)
def test_what_a_server_cannot_read_is_refused(line, said):
    with pytest.raises(DrawplateError, match=said):
        load(CONF, "servers", [f"variants=[float/vllm,{line}]"])


def test_a_head_that_a_server_reads_in_float_alone_is_refused():
    overrides = ["recipes.int4-server.steps.int4-server.head_bits=4"]
    with pytest.raises(DrawplateError, match="quantizes the head: write head_bits: 16"):
        load(CONF, "servers", overrides)


def test_targets_of_a_line_are_its_own_or_all_of_the_engine():
    lines = load(CONF, "tensorrt").asked()
    assert [str(line) for line in lines] == [
        "float/tensorrt_rtx",
        "int4/tensorrt_rtx",
        "int8/tensorrt_rtx",
        "fp8/tensorrt_rtx/sm89",
        "fp8/tensorrt_rtx/sm120",
    ]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("tensorrt_rtx.options.max_tokens=0", "max_tokens is 0; write a whole number from 2 to"),
        ("tensorrt_rtx.options.max_batch=2.5", "max_batch is 2.5; write a whole number from 1 to"),
        ("tensorrt_rtx.options.max_new_tokens_at_once=5000", "more than max_tokens; write 2048"),
        ("tensorrt_rtx.options.library=tensort", "choose from tensorrt_rtx"),
        ("onnx_graph.options.dtype=half", "choose from float16, bfloat16, float32"),
        ("onnx_graph.targets=[sm80]", r"targets is \['sm80'\]; write \[cpu\]"),
        ("tensorrt_rtx.compiled_from=null", "write compiled_from: onnx_graph"),
        ("tensorrt_rtx.compiled_from=tensorrt_rtx", "compiled from another engine itself"),
    ],
)
def test_an_engine_says_which_values_its_options_take(override, said):
    with pytest.raises(DrawplateError, match=said):
        load(CONF, "tensorrt", [f"engines.{override}"])


def test_an_option_that_is_not_there_is_told_with_its_nearest():
    with pytest.raises(DrawplateError, match=r"max_token is not known; did you mean 'max_tokens'"):
        load(CONF, "tensorrt", ["+engines.tensorrt_rtx.options.max_token=5"])


@pytest.mark.parametrize("experiment", ["llama3_8b", "qwen3_0_6b"])
def test_the_models_for_a_gpu_compose(experiment):
    assert load(CONF, experiment).pairs()
