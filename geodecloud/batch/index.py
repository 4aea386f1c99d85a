"""One page about all results of a batch: a row per scene, from its summary and its journal."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from geodecloud._version import __version__
from geodecloud.batch.summary import SUMMARY
from geodecloud.errors import GeodecloudError, OptionError, SceneIOError
from geodecloud.pictures.embed import jpeg_uri
from geodecloud.pictures.kinds import MEANINGS, PROVENANCE_RGB, css_colour, name_of
from geodecloud.raster.gdal import gdal_settings
from geodecloud.raster.targets import check_target
from geodecloud.raster.whole_files import write_text
from geodecloud.report.page import open_result
from geodecloud.report.pictures import draw_small
from geodecloud.report.templating import render
from geodecloud.restore.composite import Provenance
from geodecloud.scene.address import is_remote

#: Longest side of a picture in the table, px, and the most it takes as a file.
_THUMB_PX, _THUMB_BYTES = 112, 12_000
#: Most bytes of all pictures of a page; the rows after that have none.
_MOST_BYTES = 4_000_000
_KINDS = [code for code in MEANINGS if code is not Provenance.NODATA]


@dataclass(frozen=True)
class Row:
    """One scene.

    Attributes
    ----------
    shares : of the pixels with data, by the name of their kind; empty: it was not done
    pictures : before and after, as addresses that hold them; empty: none
    page : relative address of the scene's own report, where there is one
    """

    name: str
    state: str
    reason: str
    model: str
    shares: Mapping[str, float]
    valid_px: int
    pictures: tuple[str, ...]
    page: str | None


def has_summary(path: str | Path) -> bool:
    """Whether a path is a folder into which a batch wrote its results."""
    return os.path.isfile(os.path.join(path, SUMMARY))


def write_index(
    out_dir: Path, source: str | Path, html: str | Path, overwrite: bool = False
) -> Path:
    """Write a page about all scenes of a batch.

    Parameters
    ----------
    out_dir : folder of the results
    source : folder of the scenes, where their paths no longer hold
    html : the page
    overwrite : replace one that exists

    Raises
    ------
    SceneIOError
        If the summary cannot be read, or the page not be written.
    """
    if is_remote(html):
        raise OptionError(f"a report is a local file, and {html} is an address")
    check_target(html, overwrite)
    with gdal_settings():
        rows = list(_rows(out_dir, Path(source), Path(html)))
    counts = {state: sum(row.state == state for row in rows) for state in _states(rows)}
    values = {
        "name": out_dir.resolve().name,
        "rows": rows,
        "counts": counts,
        "kinds": [(name_of(code), css_colour(PROVENANCE_RGB[code])) for code in _KINDS],
        "total": _together(rows),
        "version": __version__,
    }
    write_text(Path(html), render("index.html", values))
    return Path(html)


def _rows(out_dir: Path, source: Path, html: Path) -> Iterator[Row]:
    room = _MOST_BYTES
    for said in _summary(out_dir):
        out = out_dir / said["out"] if said.get("out") else None
        pictures: tuple[str, ...] = ()
        if out is not None and room > 0:
            pictures = _pictures(out, _find(said["scene"], source))
            room -= sum(map(len, pictures))
        yield Row(
            name=Path(said["scene"]).name,
            state=said["state"],
            reason=said.get("reason", ""),
            model=said.get("model", ""),
            shares=_shares(said),
            valid_px=int(said.get("valid_px") or 0),
            pictures=pictures,
            page=_page_of(out, html),
        )


def _summary(out_dir: Path) -> list[dict[str, str]]:
    path = out_dir / SUMMARY
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise SceneIOError(f"{path} cannot be read: {error}") from error
    if rows and not {"scene", "state", "out"} <= rows[0].keys():
        raise SceneIOError(f"{path} is no summary of a batch; run geodecloud batch again")
    return rows


def _shares(said: Mapping[str, str]) -> dict[str, float]:
    """Shares by the names of kinds; none where the scene was not done."""
    columns = {name_of(code): said.get(code.name.lower()) for code in _KINDS}
    return {name: float(text) for name, text in columns.items() if text}


def _find(scene: str, folder: Path) -> Path:
    """Where a scene is now: its path of then, or its name somewhere in the folder."""
    then = Path(scene)
    if then.exists():
        return then
    return next(iter(sorted(folder.rglob(then.name))), folder / then.name)


def _pictures(out: Path, scene: Path) -> tuple[str, ...]:
    """Small pictures before and after; none where either cannot be read."""
    try:
        pair, _ = open_result(out, scene)
        drawn = draw_small(pair, (_THUMB_PX, _THUMB_PX))
    except GeodecloudError:
        return ()
    return tuple(jpeg_uri(picture, _THUMB_BYTES) for picture in drawn)


def _page_of(out: Path | None, html: Path) -> str | None:
    page = None if out is None else out.with_suffix(".html")
    if page is None or not page.is_file() or page.resolve() == html.resolve():
        return None
    return quote(Path(os.path.relpath(page.resolve(), html.resolve().parent)).as_posix())


def _states(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row.state for row in rows))


def _together(rows: list[Row]) -> dict[str, Any]:
    """Shares of all scenes, each by its pixels with data."""
    done = [row for row in rows if row.shares]
    pixels = sum(row.valid_px for row in done)
    shares = {
        name: sum(row.shares.get(name, 0) * row.valid_px for row in done) / pixels
        for name in (map(name_of, _KINDS) if pixels else ())
    }
    return {"scenes": len(done), "pixels": pixels, "shares": shares}
