"""What bundles a configuration may ask for, told when it is composed."""

import re
from pathlib import Path

import pytest

from drawplate.build.expand import expand
from drawplate.config.bundles import why_not
from drawplate.config.compose import load
from drawplate.errors import DrawplateError

ROOT = Path(__file__).parents[3]
SERVERS = ("vllm", "tensorrt_llm", "llamacpp", "tgi", "fastchat")


def plan(experiment: str, *overrides: str):
    return expand(load(ROOT / "conf", experiment, list(overrides)), ROOT, {}, "snakemake")


def able(experiment: str, server: str) -> list[str]:
    nodes = plan(experiment, f"bundle.build=[{server}]").of("bundle")
    return nodes[0].config["able"]


def test_none_is_made_unless_asked_for_and_asking_changes_no_other_key():
    before = {n.digest for n in plan("smollm2").nodes if n.stage != "report"}
    asked = plan("smollm2", "bundle.build=[tgi,fastchat]")
    after = {n.digest for n in asked.nodes if n.stage != "report"}
    assert {n.digest for n in asked.nodes if n.stage.startswith("bundle")} == after - before
    assert not before - after
    assert {f"{n.stage} {n.name}" for n in asked.nodes if n.digest in after - before} == {
        "bundle tgi",
        "bundle fastchat",
        "bundle_trial fastchat",
    }


def test_each_server_gets_what_it_loads_and_no_other():
    assert able("servers", "vllm") == [
        f"{name}-vllm-cpu" for name in ("float", "int4", "int4-server", "w8a8", "fp8")
    ]
    assert {name.split("-tensorrt_llm")[0] for name in able("servers", "tensorrt_llm")} == {
        "float",
        "int4-server",
        "fp8",
    }
    tgi = able("servers", "tgi")
    assert "int4-vllm-cpu" not in tgi  # zero points, and a quantized head
    assert {"float-vllm-cpu", "int4-server-vllm-cpu", "w8a8-vllm-cpu", "fp8-vllm-cpu"} <= {*tgi}
    assert {name.split("-")[0] for name in able("servers", "fastchat")} == {"float"}


def test_why_a_server_does_not_load_a_variant_names_the_server_and_the_remedy():
    build = load(ROOT / "conf", "servers", [])
    problem = why_not(build, build.bundle_servers["tgi"], "int4", "vllm")
    assert re.match(r"Hugging Face TGI cannot hold recipe int4: step int4 .*: write", str(problem))
    problem = why_not(build, build.bundle_servers["fastchat"], "fp8", "vllm")
    assert "FastChat cannot hold recipe fp8" in str(problem)
    assert why_not(build, build.bundle_servers["tgi"], "int4-server", "vllm") is None


WRONG = {
    "an unknown server": (
        "smollm2", ["bundle.build=[tgl]"], "build names 'tgl'; choose from vllm, tensorrt_llm, llamacpp, tgi"),
    "one twice": ("smollm2", ["bundle.build=[tgi,tgi]"], "build names 'tgi' twice"),
    "no such engine": (
        "smollm2", ["bundle.build=[vllm]"],
        "bundle.build names vllm: vLLM loads what engine vllm makes, and .* is not: add /engine@"),
    "an encoder": ("minilm", ["bundle.build=[tgi]"], "the base is an encoder: write bundle.build="),
    "a variant it does not load": (
        "servers", ["bundle.build=[tgi]", "+bundle.variants.tgi=int4-vllm-cpu"],
        "bundle.variants.tgi is 'int4-vllm-cpu': Hugging Face TGI cannot hold recipe int4: .*choose"),
    "no variant": (
        "servers", ["bundle.build=[tgi]", "+bundle.variants.tgi=x"],
        "this experiment has no such variant: choose from float-vllm-cpu"),
    "a variant of what is not built": (
        "servers", ["+bundle.variants.tgi=float-vllm-cpu"], "but build does not name tgi"),
    "an unknown setting": ("smollm2", ["bundle.servers.tgi.gpus=2"], "gpus"),
    "no tag": ("smollm2", ["bundle.servers.tgi.image=tgi"], "image's name with its tag or digest"),
    "no image": (
        "smollm2", ["bundle.servers.tgi.image='bad image'"], "write an image's name with its tag"),
    "no memory": ("smollm2", ["bundle.limits.memory_megabytes=1"], "greater than or equal to 1024"),
    "no port": ("smollm2", ["bundle.port=0"], "bundle.port = 0 is wrong"),
    "holds of an engine's": (
        "smollm2", ["bundle.servers.vllm.takes=checkpoint"], "holds is of servers that take a check"),
}  # fmt: skip


@pytest.mark.parametrize(("experiment", "overrides", "message"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_told_before_anything_is_built(experiment, overrides, message):
    with pytest.raises(DrawplateError, match=message) as caught:
        plan(experiment, *overrides)
    assert "\n" not in str(caught.value)


def test_a_trial_wants_its_environment_and_can_be_left_out():
    (trial,) = plan("smollm2", "bundle.build=[fastchat]").of("bundle_trial")
    assert set(trial.key["environments"]) == {"fastchat"}
    assert not plan("smollm2", "bundle.build=[fastchat]", "bundle.trial=false").of("bundle_trial")
