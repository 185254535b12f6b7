"""Plans with engines that share a package, and with a draft."""

from pathlib import Path

import pytest

from drawplate.build.estimate import Need, needs
from drawplate.build.expand import expand
from drawplate.build.plan import Node, Plan
from drawplate.build.shapes import architecture_of
from drawplate.build.workflow import load_build

ROOT = Path(__file__).parents[3]
VARIANTS = "float/onnxruntime,float/openvino,float/speculative,float/openvino-kv8,int4/openvino,int4/openvino-kv8"


@pytest.fixture(scope="module")
def plan() -> Plan:
    added = "+engine@engines.openvino-kv8=openvino-kv8"
    build = load_build({"overrides": [added, f"variants=[{VARIANTS}]"]}, ROOT)
    return expand(build, ROOT, {"cpu": "x"}, "snakemake")


def variant(plan: Plan, name: str) -> dict:
    return next(v for v in plan.variants if v["name"] == name)


def test_a_pair_is_compiled_from_two_checkpoints(plan: Plan) -> None:
    pair = variant(plan, "float-speculative-cpu")
    compiled = pair["nodes"]["engine"]
    assert {role: node.name for role, node in compiled.parents.items()} == {
        "parent": "base",
        "draft": "base.int4",
    }
    assert (pair["parent"], pair["base"]) == ("float-onnxruntime-cpu", "float-onnxruntime-cpu")
    benchmark = pair["nodes"]["benchmark"]
    assert benchmark.parents["data"].stage == "data"
    assert benchmark.parents["against"].name == "base/onnxruntime-cpu"
    alone = variant(plan, "float-onnxruntime-cpu")["nodes"]
    assert "data" not in alone["benchmark"].parents
    rows = {
        (row.stage, row.name): row
        for row in needs(plan, architecture_of(plan.base["architecture"]), Path("nowhere"))
    }

    def of(node: Node) -> Need:
        return rows[node.stage, node.name]

    draft = compiled.parents["draft"]
    assert of(compiled).result_bytes == pytest.approx(
        of(alone["engine"]).result_bytes + of(draft).result_bytes, rel=0.1
    )
    assert of(benchmark).memory_bytes > of(alone["benchmark"]).memory_bytes


def test_an_engine_runs_on_the_package_it_names(plan: Plan) -> None:
    plain = variant(plan, "int4-openvino-cpu")["nodes"]["engine"]
    rounded = variant(plan, "int4-openvino-kv8-cpu")
    compiled = rounded["nodes"]["engine"]
    assert compiled.folder.name == "openvino-kv8-cpu"
    assert compiled.config["engine"] == "openvino"
    assert compiled.config["options"] == plain.config["options"] | {"kv_cache_precision": "u8"}
    assert compiled.key["code"] == plain.key["code"]
    assert rounded["parent"] == "int4-openvino-cpu"
    # What the cache costs is judged against the base with the cache as it was.
    assert rounded["base"] == "float-openvino-cpu"
    assert variant(plan, "float-openvino-kv8-cpu")["base"] == "float-openvino-cpu"
