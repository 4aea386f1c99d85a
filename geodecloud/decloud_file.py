"""One scene from file to file: open, decide, restore, write, tell."""

from __future__ import annotations

import collections
import datetime
import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from geodecloud._version import __version__
from geodecloud.backends.declouder import release_memory
from geodecloud.errors import OptionError
from geodecloud.masks.selection import mask_path
from geodecloud.options import FileOptions
from geodecloud.pipeline import Declouded, decloud
from geodecloud.raster.gdal import gdal_settings
from geodecloud.raster.input_files import fingerprint
from geodecloud.raster.outputs import LAYERS, Outputs, plan_outputs
from geodecloud.raster.publishing import Progress, Published, publish
from geodecloud.raster.whole_files import write_text
from geodecloud.reference_file import ReferenceFile, open_references
from geodecloud.restore.circumstances import circumstances
from geodecloud.restore.composite import Provenance
from geodecloud.restore.decisions import Decisions, decide
from geodecloud.scene.address import is_remote, without_query
from geodecloud.scene.metadata import VALID, Metadata
from geodecloud.self_check.check import check_scene
from geodecloud.self_check.expected import Expected
from geodecloud.source import Source, open_source

if TYPE_CHECKING:
    from geodecloud.keywords import FileKeywords

log = logging.getLogger(__name__)

#: Scenes that are gone on with after a kill where nobody says otherwise, px; smaller ones take a minute or two.
_LONG_PX = 20_000_000


@dataclass(frozen=True)
class Report:
    """What became of one file: paths, decisions, and pixels by provenance code.

    Attributes
    ----------
    references : other dates that were used, with the number of pixels that come from each
    self_check : errors to expect, where they were asked for, see `geodecloud.self_check.expected.Expected`
    """

    out: str
    provenance: str | None
    cloud_map: str | None
    model: str
    why: str
    radiometry: str
    grid: str
    pixels: dict[str, int]
    files: tuple[str, ...] = ()
    source_date: str | None = None
    confidence: str | None = None
    references: dict[str, int] = field(default_factory=dict)
    quicklook: str | None = None
    self_check: Expected | None = None

    def share(self, code: Provenance) -> float:
        """Share of the scene's valid pixels with this code, 0 to 1."""
        valid = sum(self.pixels.values()) - self.pixels["nodata"]
        return self.pixels[code.name.lower()] / valid if valid else 0.0


def decloud_scene(
    src: str | Path,
    dst: str | Path,
    *,
    provenance: str | Path | None = None,
    cloud_map: str | Path | None = None,
    source_date: str | Path | None = None,
    confidence: str | Path | None = None,
    quicklook: str | Path | None = None,
    progress: Progress = False,
    **options: Unpack[FileKeywords],
) -> Report:
    """Remove clouds from a raster file or Sentinel-2 product and write a raster file like it.

    Parameters
    ----------
    src, dst : paths; `dst` becomes a COG with all of the source's metadata
    provenance, cloud_map : further rasters to write, on the same grid
    source_date : with `references`: the day that a filled pixel comes from
    confidence : the expected error of replaced pixels, see `geodecloud.pipeline.Declouded`
    quicklook : a PNG to write of before and after, side by side
    progress : show a bar, on a terminal or in a notebook; or a function to be called with the
        number of pixels just written
    **options : see `geodecloud.options.FileOptions`

    Raises
    ------
    GeodecloudError
        If anything is wrong; then nothing is left at `dst`.
    """
    layers = {
        "provenance": provenance,
        "cloud_map": cloud_map,
        "source_date": source_date,
        "confidence": confidence,
    }
    return decloud_file(src, dst, FileOptions.of(options), layers, progress, quicklook)


def decloud_file(
    src: str | Path,
    dst: str | Path,
    asked: FileOptions,
    layers: Mapping[str, str | Path | None],
    progress: Progress = False,
    quicklook: str | Path | None = None,
    as_known: bool = False,
    clear_maps: Mapping[str, Path] | None = None,
) -> Report:
    """The story of one scene from file to file.

    Parameters
    ----------
    layers : files of further rasters, by the names of `geodecloud.raster.outputs.LAYERS`
    src, dst, progress, quicklook : see `decloud_scene`
    as_known : leave out the confidence, with a warning, where nothing tells it
    clear_maps : see `geodecloud.reference_file.open_references`
    """
    named = [mask_path(asked.mask), asked.aoi, asked.model_path]
    with gdal_settings():
        source = open_source(src, asked.resolution, asked.s2_offset)
        references = open_references(source, asked, clear_maps) if asked.references else []
        outputs = _plan_outputs(source, references, named, dst, layers, asked, quicklook)
        decisions = decide(source.metadata, source.sample(), asked, dates=len(references))
        if "confidence" in outputs.layers and not (references or decisions.card.expected_error):
            outputs = _without_confidence(outputs, decisions, as_known)
        _log_decisions(source, decisions)
        with ExitStack() as opened:  # left to Python, files of many scenes would stay open
            side = decisions.chunk_px
            scene, dates = source.open(side), [one.open(side) for one in references]
            clear = (date.clear for date in dates if date.clear is not None)
            for array in (scene, *(date.array for date in dates), *clear):
                opened.callback(array.close)
            about = (scene, asked, source.metadata, decisions, dates)
            expected = check_scene(*about) if asked.self_check else None
            metadata = _tagged(source, references, decisions, asked, expected)
            result = decloud(*about)
            written = _write(source, metadata, outputs, result, asked, progress)
        report = _report(source, references, outputs, decisions, written, expected)
        _tell_unused(references, report)
        if outputs.item is not None:
            _write_item(outputs.item, source, written, decisions, asked, report)
        if outputs.quicklook is not None:
            _write_quicklook(outputs.quicklook, source, dst)
        return report


def _plan_outputs(
    source: Source,
    references: Sequence[ReferenceFile],
    named: Sequence[str | Path | None],
    dst: str | Path,
    layers: Mapping[str, str | Path | None],
    asked: FileOptions,
    quicklook: str | Path | None,
) -> Outputs:
    """Where everything goes; nothing that is read, or written, is written over.

    Parameters
    ----------
    named : files that options name
    """
    if layers.get("source_date") is not None and not references:
        raise OptionError(
            "source_date is about pixels that other dates filled; give references, too"
        )
    others = [file for reference in references for file in reference.source.files]
    inputs = [*source.files, *others, *(path for path in named if path is not None)]
    is_dated = source.facts is not None and source.facts.time is not None
    about = source.band_names, layers, inputs, quicklook, is_dated
    return plan_outputs(source.path, dst, asked, *about)


def _without_confidence(outputs: Outputs, decisions: Decisions, as_known: bool) -> Outputs:
    """Refuse the confidence that nothing tells, or leave it out."""
    name = decisions.card.name
    reason = (
        f"nothing tells the confidence: the card of model {name} has no table of expected errors"
    )
    if not as_known:
        raise OptionError(
            f"{reason}. Leave confidence out, give references, or a model whose card has one (geodecloud models show NAME)"
        )
    log.warning("%s is done without its confidence: %s", outputs.dst, reason)
    layers = {name: path for name, path in outputs.layers.items() if name != "confidence"}
    return replace(outputs, layers=layers)


def _log_decisions(source: Source, decisions: Decisions) -> None:
    """Say what was decided, before the long work."""
    metadata = source.metadata
    log.info(
        "%s: %s, %d bands of %s", source.path, metadata.grid, metadata.count, metadata.dtypes[0]
    )
    log.info("model %s: %s", decisions.card.name, decisions.why)
    log.info("%s", decisions.codec.reason)
    if decisions.card.kind == "identity" and metadata.radiometry:
        log.info("declared: %s", metadata.radiometry)


def _write(
    source: Source,
    metadata: Metadata,
    outputs: Outputs,
    result: Declouded,
    asked: FileOptions,
    progress: Progress,
) -> Published:
    """Compute and write all rasters in one pass."""
    found = {name: getattr(result, name) for name in LAYERS}
    layers = {name: layer.data for name, layer in found.items() if layer is not None}
    mask = source.file_mask(result.decisions.chunk_px)
    if asked.layout == "bands" and metadata.has_alpha:  # no band file has an alpha band
        mask = result.image.coords[VALID].data
    return publish(
        outputs,
        result.image.data,
        layers,
        metadata,
        mask,
        asked,
        progress=progress,
        computed=release_memory,
        made_from=_made_from(source, outputs, result.decisions, asked),
        shelf=result.shelf,
    )


def _made_from(
    source: Source, outputs: Outputs, decisions: Decisions, asked: FileOptions
) -> str | None:
    """Fingerprint of all that pixels depend on; None: a run that is killed is not to be gone on with."""
    height, width = source.metadata.grid.shape_yx
    if not (height * width > _LONG_PX if asked.resume is None else asked.resume):
        return None
    elsewhere = [path for path in (*outputs.inputs.paths, *outputs.paths) if is_remote(path)]
    if elsewhere:
        level = logging.INFO if asked.resume else logging.DEBUG
        log.log(
            level,
            "after a kill this begins anew: only local files tell what became of them, "
            "and %s is elsewhere",
            elsewhere[0],
        )
        return None
    # a model may have a name only
    files = [path for path in outputs.inputs.paths if os.path.exists(path)]
    return fingerprint(files, circumstances(decisions, asked))


def _tell_unused(references: Sequence[ReferenceFile], report: Report) -> None:
    """Name the references that fill nothing, where there was something to fill."""
    dated = {one.source.path for one in references if one.date is not None}
    unused = [path for path, filled in report.references.items() if path in dated and not filled]
    if unused and report.pixels["synthesised"]:
        log.warning(
            "%s fills nothing: where the scene is hidden it shows no clear ground, or another date fits better",
            ", ".join(unused),
        )


def _write_item(
    item: Path,
    source: Source,
    written: Published,
    decisions: Decisions,
    asked: FileOptions,
    report: Report,
) -> None:
    from geodecloud.report.stac import describe_item  # pystac takes a while, and few need it

    assert source.facts is not None
    lineage = f"clouds removed with {decisions.card.name}; {decisions.codec.reason}"
    about = (source.path, source.facts, source.metadata, written.rasters, report.pixels, lineage)
    expected = report.self_check
    told = None if expected is None else expected.as_dict()
    is_cog, others = asked.file_format.name == "cog", list(report.references)
    write_text(item, describe_item(item, *about, is_cog=is_cog, references=others, self_check=told))


def _write_quicklook(png: Path, source: Source, dst: str | Path) -> None:
    """The picture of what is on the disk now: the scene, and the finished result."""
    from geodecloud.report.pair import ScenePair
    from geodecloud.report.pictures import write_before_after

    write_before_after(ScenePair.of(source, dst), png)


def _tagged(
    source: Source,
    references: Sequence[ReferenceFile],
    decisions: Decisions,
    asked: FileOptions,
    expected: Expected | None,
) -> Metadata:
    """The scene's metadata with what was done to it."""
    parameters = {
        name: without_query(value) if isinstance(value, str | Path) else value
        for name, value in asked.parameters().items()
    }
    tagged = (
        source.metadata.without_own_tags()
        .with_nodata(asked.nodata)
        .with_tags(
            GEODECLOUD_VERSION=__version__,
            GEODECLOUD_MODEL=decisions.card.name,
            GEODECLOUD_WEIGHTS_SHA256=decisions.card.sha256,
            GEODECLOUD_PARAMETERS=json.dumps(parameters, default=str, sort_keys=True),
            GEODECLOUD_COMPUTED=json.dumps(decisions.computed_by),
            GEODECLOUD_SOURCE=source.name,
        )
    )
    if references:
        dates = {other.source.name: other.date and str(other.date) for other in references}
        tagged = tagged.with_tags(GEODECLOUD_REFERENCES=json.dumps(dates))
    if expected is not None:
        tagged = tagged.with_tags(GEODECLOUD_SELF_CHECK=json.dumps(expected.as_dict()))
    return tagged if decisions.card.kind == "identity" else tagged.without_statistics()


def _report(
    source: Source,
    references: Sequence[ReferenceFile],
    outputs: Outputs,
    decisions: Decisions,
    written: Published,
    expected: Expected | None,
) -> Report:
    layers = {name: str(path) for name, path in outputs.layers.items()}
    epoch = datetime.date(1970, 1, 1)
    codes = written.counts["provenance"]
    days = written.counts.get("source_date", collections.Counter())
    filled = {
        reference.source.path: days[(reference.date - epoch).days] if reference.date else 0
        for reference in references
    }
    return Report(
        out=str(outputs.dst),
        provenance=layers.get("provenance"),
        cloud_map=layers.get("cloud_map"),
        model=decisions.card.name,
        why=decisions.why,
        radiometry=decisions.codec.reason,
        grid=str(source.metadata.grid),
        pixels={code.name.lower(): codes[code] for code in Provenance},
        files=written.files,
        source_date=layers.get("source_date"),
        confidence=layers.get("confidence"),
        references=filled,
        quicklook=None if outputs.quicklook is None else str(outputs.quicklook),
        self_check=expected,
    )
