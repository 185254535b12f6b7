"""A plan without the image, where the report that is here tells of one."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from drawplate.artifacts.files import write_json
from drawplate.build.packaging import image_left_out


@pytest.mark.parametrize(
    ("before", "fresh", "asked", "told"),
    [
        ({"package": {"variant": "int4"}}, False, False, True),
        ({"package": {"variant": "int4"}}, True, False, False),
        ({"package": {"variant": "int4"}}, False, True, False),
        ({"package": None}, False, False, False),
        (None, False, False, False),
    ],
)
def test_it_is_told_only_where_the_section_would_go(tmp_path, before, fresh, asked, told):
    folder = Path("results/tiny")
    if before is not None:
        (tmp_path / folder).mkdir(parents=True)
        write_json(tmp_path / folder / "report.json", before)
    report = SimpleNamespace(folder=folder, fresh=lambda root: fresh)
    nodes = {"report": [report], "package": [object()] if asked else []}
    said = image_left_out(SimpleNamespace(of=nodes.__getitem__), tmp_path)
    assert (said is not None) is told
    if said:
        assert "results/tiny/report.json" in said and "package.build=true" in said
