"""The report of one result: a page in one file, to be read anywhere and without a network.

It holds no time of writing: the same files give the same page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from geodecloud._version import __version__
from geodecloud.errors import OptionError, SceneError
from geodecloud.pictures.drawing import Colours, Look, draw_before_after
from geodecloud.pictures.embed import jpeg_uri
from geodecloud.pictures.kinds import PROVENANCE_RGB, css_colour, name_of
from geodecloud.raster.gdal import gdal_settings
from geodecloud.raster.look import read_look
from geodecloud.raster.outputs import refuse_clashes
from geodecloud.raster.reader import read_metadata
from geodecloud.raster.targets import check_target
from geodecloud.raster.whole_files import write_text
from geodecloud.report.histograms import HEIGHT, WIDTH, draw_histograms
from geodecloud.report.overlays import (
    Overlay,
    draw_cloud_map,
    draw_confidence,
    draw_dates,
    draw_provenance,
)
from geodecloud.report.pair import ScenePair, read_result_tags
from geodecloud.report.recorded import Recorded
from geodecloud.report.shares import count_shares, pixel_km2
from geodecloud.report.templating import render
from geodecloud.restore.composite import Provenance
from geodecloud.scene.address import is_remote
from geodecloud.scene.grid import Grid
from geodecloud.self_check.expected import KINDS, Expected, KindError
from geodecloud.source import open_source

#: Longest side of the pictures, in px.
_SIDE_PX = 1600
#: Most bytes of each of the two pictures, as a file.
_MOST_BYTES = 1_000_000
#: Scenes with more bands have histograms of the first ones only.
_MOST_HISTOGRAMS = 40


def write_report(
    out: str | Path,
    source: str | Path,
    html: str | Path,
    *,
    provenance: str | Path | None = None,
    cloud_map: str | Path | None = None,
    source_date: str | Path | None = None,
    confidence: str | Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a page about a result: pictures before and after, shares, histograms, and what was run.

    Parameters
    ----------
    out : the result, a file or a folder of single bands
    source : the scene it was made of, a file or a Sentinel-2 product
    html : the page to write, below 5 MB whatever the size of the scene
    provenance, cloud_map, source_date, confidence : rasters written along with the result; each can be
        laid over the pictures
    overwrite : replace a page that exists

    Raises
    ------
    SceneError
        If `out` is no result of geodecloud, or not of this scene, or a raster is not of its grid.
    SceneIOError
        If a file cannot be read, or the page not be written.
    """
    layers = {
        "provenance": provenance,
        "cloud_map": cloud_map,
        "source_date": source_date,
        "confidence": confidence,
    }
    given = {name: str(path) for name, path in layers.items() if path is not None}
    if is_remote(html):
        raise OptionError(f"a report is a local file, and {html} is an address")
    with gdal_settings():
        pair, recorded = open_result(out, source)
        refuse_clashes([out, *pair.source.files, *given.values()], [html])
        check_target(html, overwrite)
        write_text(Path(html), render("scene.html", _describe(pair, recorded, given)))
    return Path(html)


def open_result(out: str | Path, source: str | Path) -> tuple[ScenePair, Recorded]:
    """A result with its scene, which is read as it was then.

    Raises
    ------
    SceneError
        If it is no result, or not of this scene.
    """
    recorded = Recorded.of(read_result_tags(out), str(out))
    try:
        origin = open_source(source, **recorded.reading())
    except OptionError:  # they were of a product, and this is a raster file
        origin = open_source(source)
    return ScenePair.of(origin, out), recorded


def _describe(pair: ScenePair, recorded: Recorded, given: Mapping[str, str]) -> dict[str, Any]:
    """Everything that stands on the page."""
    scene = pair.source.metadata
    for path in given.values():
        _check_layer(path, scene.grid)
    look = pair.look((_SIDE_PX, _SIDE_PX))
    shares = count_shares(given["provenance"], scene.grid) if "provenance" in given else []
    scales, offsets, unit = recorded.units(scene)
    shown = scene.names[:_MOST_HISTOGRAMS]
    return {
        "name": recorded.source or pair.source.name,
        "facts": _facts(pair, recorded),
        "picture": _picture(pair, look, given.get("provenance")),
        "overlays": list(_overlays(given, look.valid.shape, recorded)),
        "shares": shares,
        "histograms": draw_histograms(look, shown, scales, offsets),
        "left_out": scene.count - len(shown),
        "histogram_size": (WIDTH, HEIGHT),
        "unit": unit,
        "command": recorded.command(pair.out),
        "recorded": recorded,
        "earlier": Recorded.earlier(scene),
        "expected": _expected(recorded.self_check),
        "parameters": sorted(recorded.parameters.items()),
        "layers": {name: Path(path).name for name, path in given.items()},
        "result": Path(pair.out).name,
        "version": __version__,
    }


def _facts(pair: ScenePair, recorded: Recorded) -> list[tuple[str, str]]:
    """What a reader wants to know first."""
    scene, date = pair.source.metadata, pair.source.date
    names = [name or str(number) for number, name in enumerate(scene.names, start=1)]
    known = {
        "Acquired": None if date is None else str(date),
        "Model": recorded.model,
        "Grid": str(scene.grid),
        "Bands": ", ".join(names) if len(names) <= 16 else f"{len(names)}",
    }
    return [(label, value) for label, value in known.items() if value]


def _expected(told: Expected | None) -> list[tuple[str, str | None, KindError]]:
    """The self-check by kinds, by their names and colours; of all together there is no colour."""
    kinds = {} if told is None else told.kinds
    named = {
        kind: (name_of(code), css_colour(PROVENANCE_RGB[code])) for kind, code in KINDS.items()
    }
    return [(*named.get(kind, (kind, None)), error) for kind, error in kinds.items()]


def _picture(pair: ScenePair, look: Look, provenance: str | None) -> dict[str, Any]:
    """Both pictures, and what a caption says of them."""
    names, grid = pair.source.metadata.names, pair.source.metadata.grid
    colours = Colours.of(names)
    height, width = look.valid.shape
    clear = None
    if provenance is not None:
        codes = read_look([(provenance, 1)], (height, width), codes=True)[0]
        clear = look.valid & (codes == Provenance.OBSERVED)
    before, after = (jpeg_uri(p, _MOST_BYTES) for p in draw_before_after(look, colours, clear))
    kinds = [names[i] or f"band {i + 1}" for i in dict.fromkeys(colours.channels)]
    in_metres = pixel_km2(grid) is not None
    return {
        "before": before,
        "after": after,
        "width": width,
        "height": height,
        "step": look.step,
        "bands": kinds,
        "metres": grid.res_xy[0] * grid.shape_yx[1] if in_metres else None,
    }


def _overlays(
    given: Mapping[str, str], shape_yx: tuple[int, int], recorded: Recorded
) -> Iterator[Overlay]:
    """What can be laid over the pictures."""
    if path := given.get("provenance"):
        yield draw_provenance(path, shape_yx)
    if path := given.get("source_date"):
        yield draw_dates(path, shape_yx, recorded.references)
    if path := given.get("confidence"):
        yield draw_confidence(path, shape_yx)
    if path := given.get("cloud_map"):
        yield draw_cloud_map(path, shape_yx)


def _check_layer(path: str, grid: Grid) -> None:
    """Refuse a raster that does not belong to the result."""
    found = read_metadata(path)
    if found.grid.shape_yx != grid.shape_yx or found.count != 1:
        raise SceneError(
            f"{path} has {found.count} bands on {found.grid}, and a raster that belongs to the result "
            f"has one, on {grid}"
        )
