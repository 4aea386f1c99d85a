"""The examples of README.md and docs/ do what they say: each block is run as a reader would run it.

Blocks of Python and of commands are run page by page in a folder with a small scene and a small product, in their
order. A block that cannot be run here is told by a comment above it: ``<!-- not run: the reason -->``.
"""

from __future__ import annotations

import ast
import copy
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import dask
import pytest
import rasterio
from click.testing import CliRunner
from conftest import textured_dn, write_raster
from products import band_pixels, build_small, write_jp2, zip_product

from geodecloud.cli.commands import main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PRODUCT = "S2A_MSIL2A_20230625T104621_N0509_R051_T33UXQ_20230625T170000.SAFE"


class Block(NamedTuple):
    language: str
    text: str
    reason: str | None


def blocks_of(page: Path) -> list[Block]:
    pattern = r"(?:<!-- not run: (.+?) -->\n+)?^ *```(\w*)\n(.*?)^ *```$"
    found = re.findall(pattern, page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(language, text, reason or None) for reason, language, text in found]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What the examples name: scene.tif, a product, and folders of scenes."""
    path = write_raster(tmp_path / "scene.tif", textured_dn(4, 60, 90, nodata=0), nodata=0)
    with rasterio.open(path, "r+") as dst:
        dst.scales = (1e-4,) * 4
    folder = build_small(tmp_path / PRODUCT, size=60, offsets=dict.fromkeys(range(13), -1000))
    images = next(folder.rglob("R10m"))
    name = next(images.glob("*_B02_10m.jp2")).name.replace("B02_10m", "B05_20m")
    place = ("EPSG:32633", 600000, 5500020, 20)
    write_jp2(images.parent / "R20m" / name, band_pixels("B05", 20, 60), *place)
    for name in ("tiles", "more"):
        (tmp_path / name).mkdir()
    zip_product(folder, tmp_path / "tiles" / f"{PRODUCT}.zip")
    zip_product(folder, tmp_path / f"{PRODUCT}.zip")
    monkeypatch.chdir(tmp_path)
    before = copy.deepcopy(dask.config.config)
    yield tmp_path
    dask.config.config.clear()
    dask.config.config.update(before)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_say_what_they_are(page: Path) -> None:
    for block in blocks_of(page):
        assert block.language in ("bash", "python", "text", "toml"), block.text


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(not b.reason and b.language != "text" for b in blocks_of(page))],
    ids=lambda page: page.name,
)
def test_examples_run(page: Path, desk: Path) -> None:
    names: dict[str, object] = {}
    for block in blocks_of(page):
        if block.reason is not None:
            continue
        if block.language == "python":
            exec(compile(block.text, page.name, "exec"), names)
        elif block.language == "bash":
            run_commands(block.text)


def run_commands(text: str) -> None:
    """Run each line; what it names with --out must be there then."""
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        assert words[0] == "geodecloud", f"{line!r}: only geodecloud itself is run here"
        done = CliRunner().invoke(main, words[1:])
        assert done.exit_code == 0, f"{line}\n{done.output}"
        for option in ("--out", "--out-dir", "--provenance", "--cloud-map"):
            if option in words[:-1] and not words[words.index(option) + 1].startswith("-"):
                assert Path(words[words.index(option) + 1]).exists(), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:geodecloud|tests|benchmarks|examples|docs)/[\w./-]+)", text)
    assert not [name for name in named if not (ROOT / name).exists() and "NAME" not in name]


def test_things_are_where_the_architecture_says() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .+ \| `(geodecloud/\S+\.py)` \| `(\w+)` \|$", text, re.MULTILINE)
    assert len(rows) > 20
    for file, name in rows:
        statements = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
        assert name in [getattr(statement, "name", "") for statement in statements], (file, name)


def test_every_room_is_on_the_map() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    table = text.partition("## The rooms")[2].partition("## Rules")[0]
    rooms = {path.stem for path in (ROOT / "geodecloud").glob("[!_]*") if path.name != "py.typed"}
    assert rooms <= set(re.findall(r"`(\w+)`", table))
