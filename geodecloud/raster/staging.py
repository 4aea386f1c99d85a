"""One raster on its way to the disk: raw pixels, the finished file, its place.

GDAL's COG driver cannot be written to directly (it would hold the raster in memory) and a
finished COG cannot be edited, so pixels stream into an uncompressed tiled GeoTIFF that carries
all metadata, GDAL copies it into the final form, that is read back, and a rename publishes it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import dask.array as da
import numpy as np
import rasterio
import rasterio.shutil

from geodecloud.errors import GeodecloudWarning, OptionError, SceneIOError
from geodecloud.options import FileFormat
from geodecloud.raster.difference import facts_of, find_difference
from geodecloud.raster.finished import Finished
from geodecloud.raster.gdal import GDAL_ERRORS, SCRATCH, gdal_settings, scratch_folder
from geodecloud.raster.raw import RasterTarget, create_raw, open_raw, writing
from geodecloud.raster.side_files import write_side_facts
from geodecloud.raster.storage import put
from geodecloud.raster.targets import SIDECARS, check_file
from geodecloud.raster.temporaries import PartFolder, part_folder, remove_leftovers
from geodecloud.raster.whole_files import sync
from geodecloud.scene.address import is_remote
from geodecloud.scene.metadata import Metadata
from geodecloud.scene.tags import copy_option, write_missing_tags

log = logging.getLogger(__name__)

_OPTIONS: dict[str, dict[str, str]] = {
    "cog": {"driver": "COG", "BLOCKSIZE": "512"},
    "gtiff": {"driver": "GTiff", "TILED": "YES", "BLOCKXSIZE": "512", "BLOCKYSIZE": "512"},
}
_COMMON = {"COMPRESS": "DEFLATE", "BIGTIFF": "IF_SAFER", "NUM_THREADS": "ALL_CPUS"}
#: DEFLATE's first level made smaller files than its sixth, GDAL's default, in two thirds of the time
#: (benchmarks/compression.py, docs/performance.md).
_LEVEL = {"cog": {"LEVEL": "1"}, "gtiff": {"ZLEVEL": "1"}}


@dataclass(frozen=True)
class OutputRaster:
    """One raster to write: pixels (band, y, x) or (y, x), metadata, and how to thin it out.

    Attributes
    ----------
    path : local file, or object of a store such as ``s3://bucket/key.tif``
    resampling : of the overviews, "average" for measurements, "nearest" for codes
    mask : lazy bool (y, x), written as the file's own mask; None: it has none
    """

    path: str | Path
    pixels: da.Array
    metadata: Metadata
    resampling: str = "average"
    mask: da.Array | None = None


class Staging:
    """One raster in a hidden folder beside its target: raw pixels, then the finished raster.

    The folder is its own, because GDAL may put files beside a raster: what a GeoTIFF cannot hold.

    Parameters
    ----------
    made_from : fingerprint of all that the pixels depend on, to go on where a run that was killed stopped; None:
        always from the beginning
    """

    def __init__(
        self,
        raster: OutputRaster,
        format: FileFormat,
        overwrite: bool,
        made_from: str | None = None,
    ) -> None:
        self.raster, self.format, self.overwrite = raster, format, overwrite
        self.is_remote = is_remote(raster.path)
        if self.is_remote:
            self.path = Path(tempfile.gettempdir(), str(raster.path).rpartition("/")[2])
        else:
            # a link is written through, not replaced
            self.path = Path(os.path.realpath(raster.path))
        self.folder = PartFolder(self.path)
        self.target: RasterTarget | None = None
        self.finished: Finished | None = None
        if made_from is not None and not self.is_remote:
            self.finished = Finished(self.path.name, _fingerprint(raster, made_from))

    @property
    def raw(self) -> Path:
        """The file that takes the pixels."""
        return self.folder.path / "raw" / "raw.tif"

    @property
    def final(self) -> Path:
        """The finished file, on its way to its place."""
        return self.folder.path / "final" / self.path.name

    def open(self) -> RasterTarget:
        """Create the raw file, or take over that of a run that was killed; what takes its blocks.

        To be called inside the `with`, not by it: an interrupt between the making of the folder
        and the end of an `__enter__` would leave the folder behind.
        """
        with writing(self.raster.path):
            self.target = self._go_on()
            remove_leftovers(self.path.parent, target=self.path)
            if self.target is None:
                self.target = self._begin()
        return self.target

    def _begin(self) -> RasterTarget:
        folder = self.folder.make()
        if self.finished is not None:
            self.finished.folder = folder
        for file in (self.raw, self.final):
            file.parent.mkdir()
        self._try_options()
        dst = create_raw(self.raw, self.raster.metadata, in_place=self.finished is not None)
        return RasterTarget(dst, self.raster.path, self.finished)

    def _go_on(self) -> RasterTarget | None:
        """The raw file of a run of the same that is gone; None: there is none that can be gone on with."""
        if self.finished is None or not self.folder.take_over(self.finished.is_in):
            return None
        dst = open_raw(self.raw, self.raster.metadata)
        if dst is None:
            self.folder.remove()
            return None
        # it may have died while it made the finished file
        shutil.rmtree(self.final.parent, ignore_errors=True)
        self.final.parent.mkdir(exist_ok=True)
        self._try_options()
        self.finished.folder = self.folder.path
        self.finished.read()
        target = RasterTarget(dst, self.raster.path, self.finished)
        target.drop_lost()
        return target

    def __enter__(self) -> Staging:
        return self

    def finish(self) -> None:
        """Close the raw file, make the finished one of it, and read that back."""
        assert self.target is not None
        log.debug("copying %s to %s", self.raw, self.final)
        with writing(self.raster.path):
            self.target.dst.close()
            write_side_facts(self.raw, self.raster.metadata.side_facts)
            self._copy(self.raw, self.final)
            for file in self.final.parent.iterdir():
                sync(file)
            # GDAL reports a full disk on closing to its log only: trust nothing but the file
            threads = {"NUM_THREADS": "ALL_CPUS"}  # decoding is what takes the time here
            with rasterio.open(self.raw) as raw, rasterio.open(self.final, **threads) as final:
                # the raw raster after its copy: what was lost before is lost in both
                difference = self.target.find_lost(raw) or find_difference(raw, final)
        if difference:
            raise SceneIOError(
                f"{self.raster.path} did not come out as computed ({difference}): the disk may be "
                "full, or a creation option changes or drops something. Nothing was kept"
            )

    def _copy(self, raw: Path, final: Path) -> None:
        """Make a finished raster of a raw one, with all its tags."""
        options = self._options()
        where_set = _of_overviews(options)
        with ExitStack() as stack:
            if (
                scratch := scratch_folder()
            ) is not None:  # overviews in the making outlive a kill there
                ours = part_folder(scratch / self.path.name)
                where_set[SCRATCH] = str(stack.enter_context(ours))
            stack.enter_context(gdal_settings(where_set=where_set))
            rasterio.shutil.copy(raw, final, **options)
        with rasterio.open(raw) as src, rasterio.open(final) as dst:
            write_missing_tags(src, dst)

    def publish(self) -> None:
        """Put the finished file in place, and with it an end to sidecars of an older one."""
        if self.is_remote:
            put(self.final, str(self.raster.path))
            return
        with writing(self.raster.path):
            older = check_file(self.path)
            beside = [file for file in self.final.parent.iterdir() if file != self.final]
            for file in beside:
                check_file(self.path.with_name(file.name))
            if older and not self.overwrite:
                raise FileExistsError
            for file in beside:  # first: who sees the raster shall see all of it
                self._publish_beside(file, older)
            self._publish_raster()
            names = {self.path.name + suffix for suffix in SIDECARS} - {f.name for f in beside}
            for place in map(self.path.with_name, names):
                if os.path.exists(place):  # False for a name that is too long
                    place.unlink()

    def _publish_raster(self) -> None:
        """Put the raster in place; where it may replace none, in one step with looking for one."""
        if not self.overwrite:
            try:
                os.link(self.final, self.path)
                return
            except FileExistsError:
                raise
            except OSError:  # a file system without hard links
                log.debug("%s is renamed, not linked", self.path)
        os.replace(self.final, self.path)

    def _publish_beside(self, file: Path, older: bool) -> None:
        """Put a side file in place, unless that belongs to something else than our target."""
        place = self.path.with_name(file.name)
        if place.exists() and not older and not file.name.startswith(self.path.name):
            warnings.warn(
                f"{place} was there before {self.path.name} and is kept; the file of this name that "
                "belongs to the new raster is left out. Write to another name to have both",
                GeodecloudWarning,
                stacklevel=2,
            )
            return
        os.replace(file, place)

    def __exit__(self, *_: object) -> None:
        try:
            if self.target is not None:
                self.target.dst.close()
        finally:
            self.folder.remove()

    def _options(self) -> dict[str, str]:
        """GDAL's creation options: ours, then the caller's."""
        metadata = self.raster.metadata
        options = dict(_OPTIONS[self.format.name]) | _COMMON
        options["COPY_SRC_MDD"] = copy_option(metadata.tags, metadata.band_tags)
        options["PREDICTOR"] = _predictor(metadata, self.format.name)
        if self.format.name == "cog":
            palette = metadata.has_palette
            options["OVERVIEW_RESAMPLING"] = "nearest" if palette else self.raster.resampling
        asked = {key.upper(): value for key, value in self.format.creation_options.items()}
        codec = asked.get("COMPRESS", _COMMON["COMPRESS"]).upper()
        if codec == _COMMON["COMPRESS"]:
            options |= _LEVEL[self.format.name]
        if codec not in ("DEFLATE", "ZSTD", "LZW"):
            options.pop("PREDICTOR")
        return options | asked

    def _try_options(self) -> None:
        """Let GDAL see the caller's options on one small raster, before hours of work."""
        if not self.format.creation_options:
            return
        metadata, complaints = self.raster.metadata, _Complaints()
        raw, copy = (self.raw.with_name(name) for name in ("trial.tif", "copy.tif"))
        place = {"width": 16, "height": 16}
        with rasterio.open(raw, "w", driver="GTiff", **metadata.profile() | place) as dst:
            metadata.write_to(dst)
        write_side_facts(raw, metadata.side_facts)
        try:
            with complaints:
                self._copy(raw, copy)
            with rasterio.open(raw) as src, rasterio.open(copy) as dst:
                complaints.found += filter(None, [find_difference(src, dst)])
        except (*GDAL_ERRORS, ValueError) as error:
            complaints.found.append(str(error))
        if complaints.found:
            asked = " ".join(f"{k}={v}" for k, v in self.format.creation_options.items())
            raise OptionError(f"creation options {asked}: {complaints.found[0]}")


def _fingerprint(raster: OutputRaster, made_from: str) -> str:
    """Of one raster of a run: what its file says, and the blocks it comes in."""
    about = sorted(facts_of(raster.metadata).items()), raster.pixels.chunks, raster.mask is None
    return hashlib.sha256(f"{made_from} {about}".encode()).hexdigest()


class _Complaints(logging.Handler):
    """Collects what GDAL has to say, which rasterio passes to its log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one remark."""
        self.found.append(record.getMessage())

    def __enter__(self) -> None:
        logging.getLogger("rasterio").addHandler(self)

    def __exit__(self, *_: object) -> None:
        logging.getLogger("rasterio").removeHandler(self)


def _of_overviews(options: Mapping[str, str]) -> dict[str, str]:
    """GDAL's settings of overviews as its COG driver makes them where none are set."""
    return {
        "COMPRESS_OVERVIEW": options.get("OVERVIEW_COMPRESS", options["COMPRESS"]),
        "GDAL_TIFF_OVR_BLOCKSIZE": options.get("BLOCKSIZE", "128"),
    }


def _predictor(metadata: Metadata, format: str) -> str:
    if format == "cog":
        return "YES"  # the driver knows which one fits the dtype
    return "3" if np.issubdtype(np.dtype(metadata.dtypes[0]), np.floating) else "2"
