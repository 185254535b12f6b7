"""From a space to recipes, and what is refused when the configuration is composed."""

from pathlib import Path

import pytest

from drawplate.build.workflow import load_build
from drawplate.config.checking import proposals
from drawplate.config.search import step_label, value_label
from drawplate.errors import DrawplateError

ROOT = Path(__file__).parents[3]


def build(*overrides: str):
    return load_build({"experiment": "search", "overrides": list(overrides)}, ROOT)


def recipes(*overrides: str):
    checked = build(*overrides)
    return proposals(checked.search, checked.engines, "causal-lm")


# Hydra adds the keys of one map to another's: what shall go is deleted.
BARE = ("~search.chain", "~search.vary")
SMALL = (
    *BARE,
    "+search.chain={prune: [none, width], quantize: [none, int4]}",
    "+search.vary={width: {mlp_share: [0.125, 0.25]}, int4: {group_size: [32, 64]}}",
)


def test_a_space_is_the_product_of_its_links_with_settings_in_the_labels() -> None:
    found = recipes(*SMALL)
    assert sorted(found) == [
        "base",
        "int4_gs32",
        "int4_gs64",
        "width_ms0p125",
        "width_ms0p125-int4_gs32",
        "width_ms0p125-int4_gs64",
        "width_ms0p25",
        "width_ms0p25-int4_gs32",
        "width_ms0p25-int4_gs64",
    ]
    assert [name for name, c in found.items() if c.problem] == ["base"]
    chosen = found["width_ms0p125-int4_gs64"]
    assert chosen.lineage == "base.width_ms0p125.int4_gs64"
    assert chosen.steps["width_ms0p125"]["mlp_share"] == 0.125
    assert chosen.steps["int4_gs64"]["group_size"] == 64
    assert chosen.choices == {
        "prune": "width",
        "prune.width.mlp_share": 0.125,
        "quantize": "int4",
        "quantize.int4.group_size": 64,
    }


def test_steps_start_from_conf_and_follow_the_stage_wide_overrides() -> None:
    steps = recipes(*SMALL, "quantize.windows=5")["int4_gs32"].steps["int4_gs32"]
    assert steps["windows"] == 5
    assert steps["shrinkage"] == 0.4  # as in conf/quantize/int4.yaml


def test_labels() -> None:
    assert step_label("kd", {}) == "kd"
    assert step_label("int4", {"group_size": 32, "symmetric": True}) == "int4_gs32_strue"
    assert (
        step_label("x", {"window_tokens": 1, "wide_tables": 2}) == "x_window_tokens1_wide_tables2"
    )
    assert value_label(5e-05) == "5em05"


def test_proposed_recipes_are_built_on_every_engine_that_can_hold_them() -> None:
    only_float = "engines.openvino.holds.int=[]"
    pairs = build(*SMALL, only_float, "search.recipes=[width_ms0p25,int4_gs32]").pairs()
    assert pairs == [
        ("float", "onnxruntime"),
        ("float", "openvino"),
        ("width_ms0p25", "onnxruntime"),
        ("width_ms0p25", "openvino"),
        ("int4_gs32", "onnxruntime"),
    ]


def test_no_recipe_of_a_search_drafts_for_itself() -> None:
    # Neither a declared recipe nor a proposed one.
    for recipe in ("int8", "int4_gs32"):
        pairs = build(
            *SMALL,
            "+recipe@recipes.int8=int8",
            "+engine@engines.speculative=speculative",
            f"engines.speculative.options.draft={recipe}",
            "search.recipes=[width_ms0p25,int4_gs32]",
        ).pairs()
        assert ("float", "speculative") in pairs
        assert (recipe, "onnxruntime") in pairs
        assert (recipe, "speculative") not in pairs


def test_what_no_engine_holds_or_no_step_allows_is_told_with_its_reason() -> None:
    limits = [f"engines.{engine}.holds.group_sizes=[64]" for engine in ("onnxruntime", "openvino")]
    problem = recipes(*SMALL, *limits)["int4_gs32"].problem
    assert problem is not None and "has groups of 32: it holds groups of 64" in problem
    found = recipes(
        *BARE,
        "+search.chain={quantize: [int4]}",
        "+search.vary={int4: {method: [gptq, hqq], symmetric: [false, true]}}",
    )
    assert found["int4_mhqq_sfalse"].problem is None
    assert "hqq moves zero points" in str(found["int4_mhqq_strue"].problem)


def test_a_chain_that_cannot_be_is_told() -> None:
    found = recipes(*BARE, "+search.chain={quantize: [int8], train: [none, lora]}")
    assert "comes after int8, which quantizes" in str(found["int8-lora"].problem)
    found = recipes(*BARE, "+search.chain={one: [none, lora], two: [none, lora]}")
    assert "step lora twice" in str(found["lora-lora"].problem)
    assert sorted(n for n, c in found.items() if not c.problem) == ["lora"]


MISTAKES = {
    "search.chain.prune=[width, dpeth]": "did you mean 'depth'? choose one of none, width",
    "search.chain.prune=[nonsense]": (
        "there is no 'nonsense' here; did you mean 'none'? choose one of none, width, depth"
    ),
    "search.chain.train=[nonsense]": "did you mean 'none'? choose one of none, lora, kd",
    "search.chain.quantize=[int44]": "did you mean 'int4'? choose one of none, int8, int4, mixed4",
    "search.chain.prune=[]": "search: chain.prune is empty",
    "search.chain.prune=[width,width]": "chain.prune names a choice twice",
    "+search.vary.wdth={layers: [4]}": "vary.wdth: there is no 'wdth' here; did you mean 'width'",
    "+search.vary.int4.group_siez=[32]": "did you mean 'group_size'?",
    "search.vary.int4.group_size=[32,33]": "= 33 is wrong: it must be a multiple of 16",
    "search.vary.int4.group_size=[32,'32']": "vary.int4.group_size names a value twice",
    "search.vary.int4.group_size=[]": "vary.int4.group_size is empty",
    "+search.vary.int4.method=['gptq!']": "'gptq!' cannot become a part of a folder's name",
    "+prune@search.steps.a-b=width": "write at most 20 lower-case letters, digits and _",
    "+prune@search.steps.none=width": "a step cannot be called none",
    "+search.steps.int4.bites=4": "search.steps.int4.bites is not a known setting",
    "search.trials=0": "search.trials = 0 is wrong",
    "+search.trails=4": "search.trails is not a known setting: did you mean 'trials'?",
    "search.recipes=[int4_gs33]": "search.recipes names 'int4_gs33', which the space does not hold",
    "search.recipes=[base]": "base cannot be built: it is the base itself",
    "+recipes.int8.steps.int8={kind: quantize, method: rtn, bits: 8, head_bits: 8, group_size: 64, "
    "symmetric: true}": "recipe int8 of the experiment is another than that of the search's space",
    "~search.chain & +search.chain.a=[none]": "search: no recipe of its space can be built",
    "+search.vary.kd={seed: [0,1,2,3,4,5,6,7,8,9], top_k: [1,2,3,4,5,6,7,8,9,10], windows: "
    "[1,2,3,4,5,6,7,8,9,10], epochs: [1,2,3,4,5,6,7,8]}": "name fewer values, for 100,000 at most",
}


@pytest.mark.parametrize("override", MISTAKES)
def test_a_mistake_is_one_line_that_says_what_to_write(override: str) -> None:
    with pytest.raises(DrawplateError) as caught:
        build(*override.split(" & "))
    assert MISTAKES[override] in str(caught.value)
    assert "\n" not in str(caught.value)
