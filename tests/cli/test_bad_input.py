"""Each input of the table gets its message and its exit code, leaves nothing, and stands on the page."""

from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path

import pytest
from bad_input import TABLE, BadInput
from click.testing import CliRunner
from conftest import textured_dn, write_raster

from geodecloud.cli.commands import main

PROJECT = Path(__file__).parents[2]
ROWS = {f"{section}: {row.what}": row for section, rows in TABLE.items() for row in rows}


def stands_in(message: str, told: str) -> bool:
    """Whether the parts of a message, between the …, are told, in this order."""
    told = " ".join(told.split())
    at = 0
    for part in filter(None, (part.strip() for part in message.split("…"))):
        at = told.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


@pytest.fixture(scope="module")
def good_scene(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("good")
    return write_raster(folder / "scene.tif", textured_dn(4, 30, 40)).read_bytes()


@pytest.mark.parametrize("name", ROWS)
def test_each_bad_input_gets_its_message_and_exit_code(
    name: str,
    good_scene: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    row: BadInput = ROWS[name]
    words = row.words
    if row.needs_data:
        words = words.replace("DATA", str(request.getfixturevalue("real_data")))
    (tmp_path / "scene.tif").write_bytes(good_scene)
    row.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = CliRunner().invoke(main, shlex.split(words))
    assert result.exit_code == row.code, result.output
    assert stands_in(row.message, result.stderr + result.stdout), result.output
    assert result.stderr.count("Error: ") == (0 if result.stdout else 1), result.output
    assert "Traceback" not in result.output
    if not words.startswith("batch"):
        after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert after == before


def test_the_page_is_that_of_the_table() -> None:
    tool = importlib.util.spec_from_file_location("tool", PROJECT / "tools" / "bad_input.py")
    assert tool is not None
    module = importlib.util.module_from_spec(tool)
    tool.loader.exec_module(module)
    page = (PROJECT / "docs" / "bad-input.md").read_text(encoding="utf-8")
    assert page == module.draw(TABLE), "run: python tools/bad_input.py"
    assert len(ROWS) >= 60
