"""A base that moves on, by the real Snakefile and an embedded MLflow: found, built, judged."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tiny_updates import one_variant, rescale
from tests.workflow.conftest import Checkout, make_tiny

pytestmark = pytest.mark.integration

WORDS = ("update", "--experiment", "tiny")
VARIANT = "float-onnxruntime-cpu"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The tiny experiment with its first champion."""
    checkout = make_tiny(tmp_path_factory.mktemp("update") / "checkout")
    one_variant(checkout.path / "conf/experiment/tiny.yaml")
    result = checkout.drawplate(*WORDS)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "tiny: the first champion" in result.stdout
    return checkout


@pytest.fixture()
def checkout(served: Checkout, tmp_path: Path) -> Checkout:
    """A copy of it, to be changed."""
    shutil.copytree(served.path, tmp_path / "copy", symlinks=True)
    return Checkout(tmp_path / "copy")


def aliases(checkout: Checkout) -> dict[str, str]:
    """The digest that each alias stands for."""
    from drawplate.track.registry import version_of

    store = f"sqlite:///{checkout.path}/mlflow.db"
    found = {name: version_of(store, "tiny", name) for name in ("champion", "candidate")}
    return {name: version.digest for name, version in found.items() if version}


def built_digest(checkout: Checkout) -> str:
    folder = checkout.path / "artifacts/tiny/base/engines/onnxruntime-cpu"
    return json.loads((folder / "manifest.json").read_text())["digest"]


def story(checkout: Checkout) -> dict:
    return json.loads((checkout.path / "results/tiny/update.json").read_text())


def update(checkout: Checkout) -> subprocess.CompletedProcess[str]:
    result = checkout.drawplate(*WORDS)
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def test_nothing_new_is_said_and_changes_nothing(served: Checkout) -> None:
    before = story(served)
    assert "nothing new: folder:model is the newest" in served.drawplate(*WORDS, "--check").stdout
    result = update(served)
    assert "nothing new: folder:model is built and judged" in result.stdout
    assert "Select jobs" not in result.stdout + result.stderr
    assert story(served) == before
    assert aliases(served) == dict.fromkeys(("champion", "candidate"), built_digest(served))


def test_a_better_base_takes_its_place_though_the_update_was_killed(checkout: Checkout) -> None:
    old = built_digest(checkout)
    experiment = checkout.path / "conf/experiment/tiny.yaml"
    remark = "model: tiny  # a remark of its owner"
    experiment.write_text(experiment.read_text().replace("model: tiny", remark, 1))
    rescale(checkout.path / "model", 0.5)
    found = checkout.drawplate(*WORDS, "--check")
    assert found.returncode == 3 and "new: folder:model has files with digest" in found.stdout
    _kill_once(checkout, "results/tiny/variants/*/verify/*.key")
    assert aliases(checkout)["champion"] == old
    update(checkout)
    new = built_digest(checkout)
    assert new != old and aliases(checkout) == {"champion": new, "candidate": new}
    told = story(checkout)
    assert told["decision"] == "promoted" and told["champion"]["digest"] == old
    assert told["paired"]["perplexity"]["ci95"][1] < 0
    assert told["ratio"]["batch_1"]["decode_tokens_per_s"]["repeats"] == 2
    page = (checkout.path / "results/tiny/update.md").read_text()
    assert f"| engine's digest | `{old[:16]}` | `{new[:16]}` |" in page
    assert "champion and candidate in turns" in page
    assert remark in experiment.read_text()
    kept = {folder.name for folder in (checkout.path / "artifacts/tiny/champions").iterdir()}
    assert kept == {old[:16], new[:16]}
    # As if it had been killed when the alias had moved and the new champion was not kept yet.
    shutil.rmtree(checkout.path / "artifacts/tiny/champions" / new[:16])
    assert "nothing new" in update(checkout).stdout
    assert (checkout.path / "artifacts/tiny/champions" / new[:16] / "manifest.json").exists()
    # Whoever takes the champion back by hand is not overruled by the next run.
    _point(checkout, "champion", "1")
    assert "nothing new" in update(checkout).stdout
    assert aliases(checkout) == {"champion": old, "candidate": new}
    # Nor where something else made that build stale, here a price.
    result = checkout.drawplate(*WORDS, "--override", "cost.power_price_per_kwh=0.4")
    assert "somebody took it back" in result.stdout, result.stdout + result.stderr
    assert aliases(checkout) == {"champion": old, "candidate": new}


def test_a_worse_base_does_not_take_its_place(checkout: Checkout) -> None:
    old = built_digest(checkout)
    rescale(checkout.path / "model", 2.0)
    experiment = checkout.path / "conf/experiment/tiny.yaml"
    experiment.write_text(experiment.read_text().replace("windows: 3,", "windows: 4,"))
    result = update(checkout)
    assert "evaluating the champion on the rows of today" in result.stderr
    assert "tiny: the champion stays" in result.stdout
    assert "Perplexity's rise over the champion is beyond the limit of 10.00 %" in result.stdout
    assert aliases(checkout) == {"champion": old, "candidate": built_digest(checkout)}
    told = story(checkout)
    assert told["decision"] == "refused" and told["paired"]["perplexity"]["windows"] == 4
    assert "nothing new" in update(checkout).stdout


def test_a_clone_with_a_store_of_its_own_knows_the_champion(checkout: Checkout) -> None:
    """As in CI: what DVC brings is all there is, and the embedded store is new."""
    for path in checkout.path.glob("mlflow.db*"):
        path.unlink()
    result = update(checkout)
    assert "the store names no champion, the last one kept here is registered" in result.stderr
    assert aliases(checkout)["champion"] == built_digest(checkout)


def test_a_failed_build_leaves_the_champion_and_says_why(checkout: Checkout) -> None:
    old = aliases(checkout)
    (checkout.path / "model" / "tokenizer.json").write_text("{}")
    result = checkout.drawplate(*WORDS)
    assert result.returncode == 1
    assert "so the champion stays: base base: folder:model has a tokenizer.json" in result.stderr
    assert aliases(checkout) == old


def test_where_no_variant_may_be_served_the_champion_stays(checkout: Checkout) -> None:
    old = aliases(checkout)
    words = (
        "--override",
        "package.variant=int4-onnxruntime-cpu",
        "--override",
        "gate.max_kl_nats=1",
    )
    result = checkout.drawplate(*WORDS, *words)
    assert result.returncode == 0, result.stderr
    assert "tiny: no candidate, the champion stays" in result.stdout
    assert f"int4-onnxruntime-cpu, which was not built: name one of {VARIANT}" in result.stdout
    assert aliases(checkout) == old and story(checkout)["candidate"] is None


def test_a_champion_that_is_gone_is_one_line(checkout: Checkout) -> None:
    shutil.rmtree(checkout.path / "artifacts/tiny/champions")
    shutil.rmtree(checkout.path / "artifacts/tiny/base/engines")
    result = checkout.drawplate(*WORDS)
    assert result.returncode == 1
    assert "is not on this disk" in result.stderr and "drawplate pull" in result.stderr


def _kill_once(checkout: Checkout, until: str) -> None:
    """Start an update and kill it, without a word, as soon as a stamp of its own is there."""
    before = set(checkout.path.glob(until))
    environment = {**os.environ, "PYTHONPATH": str(checkout.path / "src")}
    program = Path(sys.executable).parent / "drawplate"
    with (checkout.path / "killed.log").open("w") as log:
        process = subprocess.Popen(
            [str(program), *WORDS], cwd=checkout.path, env=environment, stdout=log, stderr=log
        )
        deadline = time.monotonic() + 300
        while not set(checkout.path.glob(until)) - before and time.monotonic() < deadline:
            assert process.poll() is None, (checkout.path / "killed.log").read_text()
            time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
        process.wait()


def _point(checkout: Checkout, alias: str, version: str) -> None:
    from drawplate.track.registry import point

    point(f"sqlite:///{checkout.path}/mlflow.db", "tiny", alias, version)
