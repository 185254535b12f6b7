"""A build inside a build, with real processes in its place."""

import json
import shlex
import time

import pytest

from drawplate.build.workflow import load_build, with_recipes
from drawplate.errors import DrawplateError
from drawplate.search.nested import outer_build, run_build, snakemake_words

WORDS = {"experiment": "search", "overrides": ["evaluate.windows=3"], "hardware": "cpu"}


def test_the_command_is_one_that_a_person_can_paste() -> None:
    words = snakemake_words(with_recipes(WORDS, ["int8", "lora-int8"]), 2, ["proxies"])
    typed = shlex.split(shlex.join(words))
    assert typed[:5] == ["snakemake", "--profile", "cpu", "--cores", "2"]
    assert typed[-2:] == ["--", "proxies"]
    overrides = json.loads(typed[-3].removeprefix("overrides="))
    assert overrides == ["evaluate.windows=3", "++search.recipes=[int8,lora-int8]"]
    assert "--cores" not in snakemake_words(WORDS, None, [])


def test_its_exit_status_is_told() -> None:
    assert run_build(["python", "-c", "raise SystemExit(3)"], lambda: True) == 3
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert run_build(["python", "-c", killed], lambda: True) == -9


def test_it_ends_when_the_build_that_started_it_has_died() -> None:
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_build(["python", "-c", "import time; time.sleep(300)"], lambda: False)
    assert time.monotonic() - started < 60


def test_without_a_build_above_it_goes_on() -> None:
    assert outer_build()() is True


def test_an_experiment_without_a_search_proposes_nothing() -> None:
    from pathlib import Path

    root = Path(__file__).parents[3]
    with pytest.raises(DrawplateError, match="search"):
        load_build(with_recipes({**WORDS, "experiment": "smollm2"}, ["int8"]), root)
