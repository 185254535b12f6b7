"""Recipe files that a search leaves: readable, and never at a user's expense."""

import yaml

from drawplate.search.recipes import figures, no_file, recipe_text, untouched, write_recipe

STEPS = {"int4_gs32": {"kind": "quantize", "bits": 4, "group_size": 32, "symmetric": False}}
OTHER = {"int4_gs32": {"kind": "quantize", "bits": 4, "group_size": 64, "symmetric": False}}


def text(steps=STEPS, line="onnxruntime-cpu: 10 MB"):
    return recipe_text("snakemake --profile cpu --config experiment=search", [line], steps)


def test_a_file_says_who_made_it_with_which_figures_and_holds_the_steps() -> None:
    assert "# Found by snakemake --profile cpu" in text()
    assert "#   onnxruntime-cpu: 10 MB" in text()
    loaded = yaml.safe_load(text())
    assert loaded["steps"] == STEPS
    assert loaded["description"] == "Found by a search: quantize (int4_gs32)."
    assert untouched(text())


def test_an_untouched_file_is_renewed_with_its_figures(tmp_path) -> None:
    assert write_recipe(tmp_path, "a", text()) == ("a", "written")
    assert write_recipe(tmp_path, "a", text()) == ("a", "unchanged")
    assert write_recipe(tmp_path, "a", text(line="faster now")) == ("a", "written")
    assert "faster now" in (tmp_path / "a.yaml").read_text()
    assert write_recipe(tmp_path, "a", text(OTHER)) == ("a", "written")
    assert yaml.safe_load((tmp_path / "a.yaml").read_text())["steps"] == OTHER
    assert [p.name for p in tmp_path.iterdir()] == ["a.yaml"]


def test_a_users_file_is_never_overwritten(tmp_path) -> None:
    mine = text().replace("group_size: 32", "group_size: 16")
    (tmp_path / "a.yaml").write_text(mine)
    assert write_recipe(tmp_path, "a", text()) == ("a-found", "written")
    assert (tmp_path / "a.yaml").read_text() == mine
    (tmp_path / "a-found.yaml").write_text("defaults: [/quantize@steps.x: int4]\n")
    assert write_recipe(tmp_path, "a", text()) == ("a-found", "kept")
    assert (tmp_path / "a-found.yaml").read_text().startswith("defaults")


def test_figures_leave_out_what_was_not_measured() -> None:
    variant = {
        "engine": "openvino",
        "target": "cpu",
        "artifact": {"bytes": 12_340_000},
        "quality": {"perplexity": {"value": 30.123}, "kl_to_base": None},
        "performance": None,
    }
    assert figures(variant) == "openvino-cpu: 12.3 MB, perplexity 30.12"


def test_why_there_is_no_file() -> None:
    def report(*passed: bool, front: tuple[str, ...] = ()) -> dict:
        rows = [
            {"name": f"r{i}-e", "recipe": f"r{i}", "gate": {"passed": gate}}
            for i, gate in enumerate(passed)
        ]
        float_ = {"name": "float-e", "recipe": "float", "gate": {"passed": True}}
        return {"variants": [float_, *rows], "pareto": ["float-e", *front]}

    assert no_file(["r0", "r1"], report(True, False, front=("r0-e",))) is None
    said = "no recipe file: 2 survivors, none passed the gate"
    assert no_file(["r0", "r1"], report(False, False)) == said
    said = "no recipe file: 1 survivor, 1 passed the gate, none is on the Pareto front"
    assert no_file(["r0"], report(True)) == said
    assert no_file([], report()) == "no recipe file: 0 survivors"
