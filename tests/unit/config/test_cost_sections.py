"""Prices, batch sizes and phases are refused at the door if they make no sense."""

from pathlib import Path

import pytest

from drawplate.config.compose import load
from drawplate.errors import DrawplateError

CONF = Path(__file__).parents[3] / "conf"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("cost.machine=h200", "hardware does not have"),
        ("cost.utilisation=1.5", "less than or equal to 1"),
        ("cost.pue=0.9", "greater than or equal to 1"),
        ("cost.sensitivity.price=[]", "it is empty; write at least 2"),
        ("cost.sensitivity.price=[1.0]", "it has 1 entry; write at least 2"),
        ("cost.sensitivity.price=[1.0,1.0,1.0]", "it has 3 entries; write at most 2"),
        ("cost.sensitivity.utilisation=[1,8]", "share of 2"),
        ("cost.sensitivity.price=[1.1,2]", "factors around 1"),
        ("cost.hardware.a100.gpu=null", "names the GPU"),
        ("cost.hardware.a100.per=core", "not bought by the core"),
        ("cost.hardware.cpu_server.idle_watts=9", "below idle_watts"),
        ("sweep.batches=[8,1]", "from small to large"),
        ("sweep.batches=[1,2000]", "less than or equal to 1024"),
        ("phase.pilot.share=1.0", "nothing to compare"),
        ("phase.pilot.error_rate=0.0", "greater than 0"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(override, said):
    with pytest.raises(DrawplateError, match=said) as refused:
        load(CONF, "smollm2", [override])
    assert "\n" not in str(refused.value)


def test_batch_sizes_are_swept_where_an_image_is_made():
    assert not load(CONF, "smollm2").sweep["build"]
    assert load(CONF, "smollm2", ["package.build=true"]).sweep["build"]
    assert load(CONF, "smollm2", ["sweep.build=true"]).sweep["build"]
