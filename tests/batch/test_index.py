"""The page about a batch: a row for each scene, whatever became of it."""

from __future__ import annotations

import csv
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conftest import textured_dn, write_raster

from geodecloud.batch.index import write_index
from geodecloud.cli.commands import main
from geodecloud.errors import SceneIOError


def invoke(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


class Rows(HTMLParser):
    """Text, pictures and links of each row of the table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[dict[str, list[str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "tr":
            self.rows.append({"text": [], "img": [], "a": []})
        elif self.rows and tag in ("img", "a"):
            self.rows[-1][tag].append(str(given.get("src") or given.get("href")))

    def handle_data(self, data: str) -> None:
        if self.rows and data.strip():
            self.rows[-1]["text"].append(data.strip())


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, toy_model: Path) -> Path:
    """Two scenes that were done, one that failed, and a name that could be a tag."""
    root = tmp_path_factory.mktemp("batch")
    (root / "tiles/deep").mkdir(parents=True)
    write_raster(root / "tiles/<b>one.tif", textured_dn(4, 60, 90, seed=1), nodata=0)
    write_raster(root / "tiles/deep/two.tif", textured_dn(4, 60, 90, seed=2, nodata=0), nodata=0)
    (root / "tiles/bad.tif").write_bytes(b"no raster")
    result = invoke(
        "batch", root / "tiles", "--out-dir", root / "clear", "--model", toy_model, "-q"
    )
    assert result.exit_code == 1
    return root


def test_a_row_for_each_scene(done: Path) -> None:
    html = done / "clear/index.html"
    (done / "clear/deep/two_decloud.html").write_text("its own page")
    result = invoke("report", done / "clear", "--source", done / "tiles", "--html", html)
    assert (result.exit_code, result.stdout) == (0, f"{html}\n"), result.output
    text = html.read_text(encoding="utf-8")
    rows = {row["text"][0]: row for row in Rows(text).rows[1:]}
    with (done / "clear/summary.csv").open(newline="") as file:
        said = {Path(row["scene"]).name: row for row in csv.DictReader(file)}
    pictured = {row["text"][0]: row for row in Rows(text).rows[1:] if row["img"]}
    assert set(pictured) == {"<b>one.tif", "two.tif"}
    for name, row in pictured.items():
        assert len(row["img"]) == 2
        assert all(image.startswith("data:image/jpeg") for image in row["img"])
        assert row["text"][1:3] == ["done", "toy"]
        share = float(said[name]["restored"])
        assert f"{100 * share:.2f}\u00a0%" in row["text"]
    failed = rows["no picture"]
    assert failed["text"][1] == "bad.tif"
    assert said["bad.tif"]["reason"] == failed["text"][2]
    assert "failed" in failed["text"]
    assert pictured["two.tif"]["a"] == ["deep/two_decloud.html"]
    assert pictured["<b>one.tif"]["a"] == []
    assert "<b>one" not in text
    assert len(html.read_bytes()) < 5_000_000


def test_scenes_that_moved_are_found_by_name(done: Path, tmp_path: Path) -> None:
    moved = (done / "tiles").rename(done / "moved")
    try:
        html = write_index(done / "clear", moved, tmp_path / "i.html")
        lost = write_index(done / "clear", tmp_path, tmp_path / "j.html")
    finally:
        moved.rename(done / "tiles")
    assert html.read_text().count("<img") == 4
    assert lost.read_text().count("<img") == 0
    assert lost.read_text().count("two.tif") > 0


def test_what_is_refused(done: Path, tmp_path: Path) -> None:
    html = tmp_path / "i.html"
    result = invoke(
        "report", done / "clear", "--source", done, "--html", html, "--provenance", "p.tif"
    )
    assert result.exit_code == 2
    assert "is of one result" in result.stderr
    html.write_text("mine")
    with pytest.raises(SceneIOError, match="overwrite=True"):
        write_index(done / "clear", done / "tiles", html)
    (tmp_path / "summary.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SceneIOError, match="no summary"):
        write_index(tmp_path, done, tmp_path / "x.html")
