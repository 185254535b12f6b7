"""What `drawplate why` and `drawplate whence` take for a target, from wherever they are called."""

from pathlib import Path

import pytest

from drawplate.artifacts.lineage import find
from drawplate.build.plan import Plan
from drawplate.build.workflow import make_plan
from drawplate.cli.why import targets
from drawplate.errors import DrawplateError

ROOT = Path(__file__).parents[3]
FOLDER = "artifacts/smollm2/base.int4"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan({"experiment": "smollm2"}, ROOT)


@pytest.mark.parametrize(
    "target",
    [
        "base.int4",
        FOLDER,
        f"{FOLDER}/",
        f"{ROOT}/{FOLDER}",
        f"../{FOLDER}",
        f"../../{ROOT.name}/{FOLDER}",
        f"../docs/../{FOLDER}/model.safetensors",
    ],
)
def test_a_path_that_leads_under_the_root_is_recognised(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.chdir(ROOT / "docs")
    assert [str(n.folder) for n in targets(plan, target, ROOT)] == [FOLDER]


@pytest.mark.parametrize("target", ["", ".", "..", "../elsewhere/artifacts/smollm2/base.int4"])
def test_what_names_nothing_is_told_with_its_name(plan: Plan, target: str) -> None:
    with pytest.raises(DrawplateError) as caught:
        targets(plan, target, ROOT)
    subject = target or "''"
    assert str(caught.value).startswith(f"{subject} is nothing that experiment smollm2 builds")


def test_no_artifact_at_all_is_told_with_a_subject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DrawplateError, match=r"^'' belongs to no artifact: give a path"):
        find("", tmp_path)
