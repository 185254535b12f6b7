"""The words that choose an experiment, as flags and as Snakemake takes them."""

import argparse

import pytest

from drawplate.build.workflow import load_build
from drawplate.cli.experiment import add_experiment, chosen, root
from drawplate.errors import DrawplateError


def words(*arguments: str) -> dict:
    parser = argparse.ArgumentParser()
    add_experiment(parser)
    return chosen(parser.parse_args(arguments))


def test_config_says_the_same_as_the_flags() -> None:
    flags = words("--experiment", "minilm", "--override", "gate.max_kl_nats=1.0")
    asked = words("--config", "experiment=minilm", "overrides=['gate.max_kl_nats=1.0']")
    assert asked == flags
    both = words("--config", "overrides=[a=1]", "check=off", "--override", "b=2")
    assert both["overrides"] == ["a=1", "b=2"]
    assert (both["experiment"], both["check"]) == ("smollm2", "off")
    assert words("--config", "hardware=slurm")["hardware"] == "slurm"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("minilm", "--config: 'minilm' is no KEY=VALUE: write experiment=NAME"),
        ("hardware=tpu", "hardware is 'tpu': write cpu, gpu, slurm"),
        ("experimnt=minilm", "--config does not know 'experimnt': it knows experiment, overrides"),
        ("overrides={a: 1}", "not a list of texts: write overrides="),
    ],
)
def test_other_words_are_told_in_one_line(word: str, said: str) -> None:
    with pytest.raises(DrawplateError) as caught:
        load_build(words("--config", word), root())
    assert said in str(caught.value)
