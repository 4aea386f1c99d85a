"""Which files a scene becomes: one raster of all bands or one per band, layers, and an Item beside them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from geodecloud.errors import OptionError, SceneIOError
from geodecloud.options import FileOptions
from geodecloud.raster.input_files import InputFiles
from geodecloud.raster.reader import source_files
from geodecloud.scene.address import is_remote

PathLike = str | Path

#: Further rasters: dtype, nodata, resampling of the overviews.
LAYERS: dict[str, tuple[str, float | None, str]] = {
    "provenance": ("uint8", 0, "nearest"),
    "cloud_map": ("float32", float("nan"), "average"),
    "source_date": ("uint16", 0, "nearest"),
    "confidence": ("float32", float("nan"), "average"),
}


@dataclass(frozen=True)
class Outputs:
    """Where all that a run writes will go; known, and checked, before the work begins.

    Attributes
    ----------
    scene : path of the scene
    inputs : all files that are read
    dst : the image: a file, or the folder of single bands
    bands : the file of each band; None: `dst` is one file of all bands
    layers : further rasters on the same grid, by the name of what they hold, see `LAYERS`
    item : the STAC Item, or None
    quicklook : a picture of before and after, or None
    """

    scene: str
    inputs: InputFiles
    dst: PathLike
    bands: tuple[Path, ...] | None = None
    layers: Mapping[str, PathLike] = field(default_factory=dict)
    item: Path | None = None
    quicklook: Path | None = None

    @property
    def beside(self) -> list[Path]:
        """Local files that are written after the rasters."""
        return [path for path in (self.item, self.quicklook) if path is not None]

    @property
    def paths(self) -> list[PathLike]:
        """All files that will be written."""
        images: Sequence[PathLike] = [self.dst] if self.bands is None else self.bands
        return [*images, *self.layers.values(), *self.beside]


def plan_outputs(
    scene: str,
    dst: PathLike,
    asked: FileOptions,
    band_names: Sequence[str],
    layers: Mapping[str, PathLike | None],
    inputs: Sequence[PathLike],
    quicklook: PathLike | None = None,
    is_dated: bool = False,
) -> Outputs:
    """Decide where files go, and refuse what would write over an input or another output.

    Parameters
    ----------
    scene : path of the scene
    band_names : see `band_paths`
    layers : files of further rasters, by name; None where one is not wanted
    inputs : files, masks, areas of interest and models that are read
    quicklook : a PNG of before and after, or None
    is_dated : whether anything says when the scene was taken

    Raises
    ------
    OptionError
        If single bands, an Item or a quicklook are to be written to an address, that is to be no PNG, or an Item is
        wanted of a scene without a date.
    SceneIOError
        If a path is named twice.
    """
    item, bands = _item_path(scene, is_dated, dst, asked), None
    if asked.layout == "bands":
        if is_remote(dst):
            raise OptionError(f'layout="bands" writes a local folder, and {dst} is an address')
        bands = band_paths(dst, band_names)
    wanted = {name: path for name, path in layers.items() if path is not None}
    picture = _picture_path(quicklook)
    outputs = Outputs(scene, InputFiles(inputs), dst, bands, wanted, item, picture)
    refuse_clashes(inputs, [*([] if bands is None else [dst]), *outputs.paths])
    return outputs


def band_paths(folder: PathLike, band_names: Sequence[str]) -> tuple[Path, ...]:
    """The files of single bands in a folder; bands of one name have their number in it, too."""
    names = [_short(re.sub(r"[^\w.-]+", "_", name)) for name in band_names]
    return tuple(Path(folder) / f"{name}.tif" for name in _distinct(names))


def refuse_clashes(inputs: Sequence[PathLike], targets: Sequence[PathLike]) -> None:
    """No target may be an input, under whatever name, or another target.

    Raises
    ------
    SceneIOError
        If one is.
    """
    taken = [Path(os.path.realpath(f)) for path in inputs for f in source_files(path)]
    for target in targets:
        path = Path(os.path.realpath(target))
        # os.path, not Path: it takes a name that is too long for one that is not there
        there = [f for f in taken if os.path.exists(f)] if os.path.exists(path) else []
        if path in taken or any(path.samefile(f) for f in there):
            raise SceneIOError(f"{target} is named twice; inputs and outputs must all differ")
        taken.append(path)


def _picture_path(quicklook: PathLike | None) -> Path | None:
    if quicklook is None:
        return None
    if is_remote(quicklook) or Path(quicklook).suffix.lower() != ".png":
        raise OptionError(
            f"a quicklook is a local PNG, and {quicklook} is not; such as quicklook='clear.png'"
        )
    return Path(quicklook)


def _item_path(scene: str, is_dated: bool, dst: PathLike, asked: FileOptions) -> Path | None:
    """Where the STAC Item goes; None: there will be none."""
    if asked.stac and not is_dated:
        raise OptionError(
            f"a STAC Item says when a scene was taken, and {scene} does not; leave stac=True out"
        )
    if asked.stac and is_remote(dst):
        raise OptionError(f"a STAC Item is written beside a local result, and {dst} is an address")
    if not is_dated or asked.stac is False or is_remote(dst):
        return None
    target = Path(dst)
    return (
        target / f"{target.name}.json" if asked.layout == "bands" else target.with_suffix(".json")
    )


def _short(name: str) -> str:
    """The name cut to what file systems allow, 255 bytes, less a number and GDAL's suffixes."""
    return name.encode()[:200].decode(errors="ignore")


def _distinct(names: Sequence[str]) -> list[str]:
    """The names; those that file systems take for one another with their 1-based number."""
    numbered: set[int] = set()
    while True:
        distinct = [f"{n}_{i}" if i in numbered else n for i, n in enumerate(names, start=1)]
        # Windows and macOS see no case, macOS no difference between the ways to compose a letter
        seen = [unicodedata.normalize("NFC", name.casefold()) for name in distinct]
        counts = Counter(seen)
        clashing = {i for i, name in enumerate(seen, start=1) if counts[name] > 1}
        if not clashing:
            return distinct
        # a number may make another band's name; numbered ones differ, so this comes to an end
        numbered |= clashing
