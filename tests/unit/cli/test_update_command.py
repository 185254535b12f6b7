"""`drawplate update` from wherever one stands."""

from drawplate.cli import main
from drawplate.update import loop


def test_the_table_is_written_where_the_path_points_from_here(tmp_path, monkeypatch):
    (tmp_path / "Snakefile").touch()
    below = tmp_path / "notes"
    for folder in (tmp_path / "conf", below):
        folder.mkdir()
    monkeypatch.chdir(below)
    monkeypatch.setattr(
        loop, "update", lambda *words, **settings: ["nothing new: it is the newest"]
    )
    assert main.main(["update", "--table", "table.md"]) == 0
    assert (below / "table.md").read_text() == "nothing new: it is the newest\n"
