"""A result on disk, one file or a folder of single bands, and what is expected of it besides its pixels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dask.array as da
from rasterio.enums import ColorInterp

from geodecloud.errors import GeodecloudError
from geodecloud.raster.cog import find_cog_faults
from geodecloud.raster.difference import PER_BAND, facts_of
from geodecloud.raster.outputs import band_paths
from geodecloud.raster.raster_file import RasterFile
from geodecloud.report.findings import Finding, failed, not_checked, ok
from geodecloud.report.made_by import MadeBy
from geodecloud.report.strips import UnreadableError
from geodecloud.scene.metadata import VALID, Metadata
from geodecloud.scene.tags import kept_tags
from geodecloud.source import Source

#: Facts of a raster that say where its pixels lie; tags and the rest are told by their names.
_GRID = ("shape", "crs", "transform", "rpcs", "ground control points", "coordinate epoch")
_OURS = "GEODECLOUD_"


@dataclass(frozen=True)
class Result:
    """The files of a result, and what each should say.

    Attributes
    ----------
    files : one of all bands, or one per band
    whole : what is expected of all bands together
    expected : what each file should say besides its pixels
    """

    files: tuple[RasterFile, ...]
    whole: Metadata
    expected: tuple[Metadata, ...]

    @classmethod
    def of(
        cls, out: str | Path, scene: Metadata, band_names: Sequence[str], made_by: MadeBy
    ) -> Result:
        """The result at a path of a scene that says this of itself.

        Raises
        ------
        UnreadableError
            If a file of it is not there, or is no raster.
        """
        nodata = None if made_by.options is None else made_by.options.nodata
        whole = scene.with_nodata(nodata)
        if not made_by.is_identity:
            whole = whole.without_statistics()
        paths = _paths_of(out, band_names)
        several = os.path.isdir(out)
        expected = [whole.one_band(i) for i in range(whole.count)] if several else [whole]
        try:
            files = [RasterFile.at(str(path)) for path in paths]
        except GeodecloudError as error:
            raise UnreadableError(str(error)) from error
        return cls(tuple(files), whole, tuple(expected))

    @property
    def is_split(self) -> bool:
        """Whether each band has a file of its own."""
        return len(self.files) > 1

    def name(self, index: int) -> str | None:
        """The name of a file, where there are several."""
        return Path(self.files[index].path).name if self.is_split else None

    def open(self, side: int) -> da.Array:
        """Pixels (band, y, x), lazily."""
        return da.concatenate([file.open(side).data for file in self.files])

    def masks(self, side: int) -> dict[int, da.Array]:
        """Masks (y, x) of the files that have and should have one, lazily, by their numbers."""
        found = {i: file.file_mask(side) for i, file in enumerate(self.files)}
        return {i: m for i, m in found.items() if m is not None and self.expected[i].has_mask}

    def expected_mask(self, source: Source, scene: Any, side: int) -> da.Array | None:
        """The mask (y, x) that all of them should have; None: none."""
        if not any(one.has_mask for one in self.expected):
            return None
        alpha = self.is_split and self.whole.has_alpha
        return scene.coords[VALID].data if alpha else source.file_mask(side)

    def check_metadata(self) -> Iterator[Finding]:
        """Hold what the files say besides their pixels against what they should say."""
        wrong: list[Finding] = []
        for i, (file, expected) in enumerate(zip(self.files, self.expected, strict=True)):
            wrong += _differences(expected, file.metadata, self.name(i))
        yield from wrong
        broken = {finding.check for finding in wrong}
        grid = self.expected[0].grid
        said = {
            "grid": str(grid),
            "bands": "number, type, nodata, names, scales, offsets, units and colours are the scene's",
            "tags": "all tags of the scene are there",
            "mask": "of the same kind as the scene's",
        }
        yield from (ok(check, text) for check, text in said.items() if check not in broken)

    @property
    def is_comparable(self) -> bool:
        """Whether pixels lie where those of the scene do, and are of the same type."""
        pairs = zip(self.files, self.expected, strict=True)
        return all(
            (f.metadata.grid.shape_yx, f.metadata.dtypes) == (e.grid.shape_yx, e.dtypes)
            for f, e in pairs
        )

    def check_layout(self) -> Iterator[Finding]:
        """Whether files that were written as COGs are COGs."""
        faults = [find_cog_faults(file.path) for file in self.files]
        for i, found in enumerate(faults):
            yield from (failed("cog", fault, file=self.name(i)) for fault in found or ())
        if all(found is None for found in faults):
            yield not_checked("cog", "it was not written as a COG")
        elif not any(faults):
            yield ok("cog", "laid out as a cloud-optimised GeoTIFF, with the overviews it needs")


def _paths_of(out: str | Path, band_names: Sequence[str]) -> list[Path]:
    """The files of a result: itself, or in a folder one per band."""
    if not os.path.isdir(out):
        return [Path(out)]
    paths = list(band_paths(out, band_names))
    gone = [path.name for path in paths if not path.is_file()]
    if gone:
        raise UnreadableError(f"the folder {out} lacks {', '.join(gone)}: one file for each band")
    return paths


def compare_layer(found: Metadata, expected: Metadata) -> list[Finding]:
    """What a layer such as provenance says otherwise than it should."""
    return [replace(one, check="provenance") for one in _differences(expected, found, None)]


def _differences(expected: Metadata, found: Metadata, file: str | None) -> list[Finding]:
    """What one file says otherwise than it should; it may say more."""
    facts, there = facts_of(_comparable(expected)), facts_of(found)
    wrong: list[Finding] = []
    for name, value in facts.items():
        other = there.get(name)
        if name in PER_BAND:
            wrong += _band_differences(name, value, other or (), file)
        elif other != value:
            wrong.append(_difference(name, value, other, file))
    if found.has_mask != expected.has_mask:
        words = {True: "a mask in the file", False: "none"}
        pair = {"found": words[found.has_mask], "expected": words[expected.has_mask]}
        wrong.append(failed("mask", "", file=file, **pair))
    return wrong


def _comparable(metadata: Metadata) -> Metadata:
    """Without what no result can have: tags that cannot be written, and those of an earlier run."""
    tags = dict(kept_tags(metadata.tags))
    tags[""] = {k: v for k, v in tags.get("", {}).items() if not k.startswith(_OURS)}
    return replace(
        metadata, tags=tags, band_tags=tuple(kept_tags(band) for band in metadata.band_tags)
    )


def _difference(name: str, value: Any, other: Any, file: str | None) -> Finding:
    if name.startswith("tag "):
        tag, _, owner = name.removeprefix("tag ").rpartition(" of ")
        return failed("tags", f"of {owner}", tag=tag, file=file, found=other, expected=value)
    check = "grid" if name in _GRID else "bands"
    return failed(check, name, file=file, found=other, expected=value)


def _band_differences(
    name: str, values: Sequence[Any], others: Sequence[Any], file: str | None
) -> Iterator[Finding]:
    """Bands of which something is said otherwise; their number is compared elsewhere."""
    for band, (value, other) in enumerate(zip(values, others, strict=False), start=1):
        # TIFF says grey of a first band that says nothing, and of bands that are all grey says so of the first alone
        grey = ColorInterp.undefined, ColorInterp.gray
        if value in grey and other in grey:
            continue
        # GDAL knows no band without a unit or name: it says nothing, or an empty text
        if (value or None) != (other or None):
            yield failed("bands", name, file=file, band=band, found=other, expected=value)
