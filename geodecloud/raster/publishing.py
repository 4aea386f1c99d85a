"""All files of a run: computed in one pass over the scene, and put in place together or not at all."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import dask.array as da

from geodecloud.compute.progress import progress_bar
from geodecloud.compute.shelf import Shelf
from geodecloud.errors import SceneIOError
from geodecloud.options import FileOptions
from geodecloud.raster.finished import Counter
from geodecloud.raster.gdal import GDAL_ERRORS
from geodecloud.raster.outputs import LAYERS, Outputs
from geodecloud.raster.staging import OutputRaster
from geodecloud.raster.targets import check_target, make_folder
from geodecloud.raster.writer import write_rasters
from geodecloud.scene.metadata import Metadata

#: True: a bar, on a terminal or in a notebook; or a function that is called with the number of pixels just written.
Progress = bool | Callable[[int], None]


@dataclass(frozen=True)
class Published:
    """What a run has written.

    Attributes
    ----------
    files : all that are written, also those that come after the rasters
    rasters : the image first, or its bands, then the layers
    counts : of layers of whole numbers, by name: how often each number occurs
    """

    files: tuple[str, ...]
    rasters: list[OutputRaster]
    counts: Mapping[str, collections.Counter[int]]


def publish(
    outputs: Outputs,
    image: da.Array,
    layers: Mapping[str, da.Array],
    metadata: Metadata,
    mask: da.Array | None,
    asked: FileOptions,
    *,
    progress: Progress = False,
    computed: Callable[[], None] = lambda: None,
    made_from: str | None = None,
    shelf: Shelf | None = None,
) -> Published:
    """Compute and write all rasters of a run.

    Parameters
    ----------
    image : (band, y, x)
    layers : (y, x) by name, at least those of `outputs.layers`
    metadata : of the image
    mask : (y, x) bool, for files whose metadata says that they have a mask of their own
    computed : called when the last block is there, before the files are finished
    made_from, shelf : see `geodecloud.raster.writer.write_rasters`

    Raises
    ------
    SceneIOError
        If the scene cannot be read or has changed meanwhile, or a file cannot be written; nothing is left then.
    """
    rasters = list(_rasters(outputs, image, layers, metadata, mask))
    counters = {
        name: Counter()
        for name, (dtype, *_) in LAYERS.items()
        if name in layers and dtype.startswith("uint")
    }

    def all_there() -> None:
        outputs.inputs.check_unchanged()
        computed()

    with _folder(outputs), ExitStack() as stack:
        for path in outputs.beside:
            check_target(path, asked.overwrite)
        if progress is True:
            height, width = metadata.grid.shape_yx
            progress = stack.enter_context(progress_bar(height * width))
        stack.enter_context(_told_of(outputs))
        write_rasters(
            rasters,
            asked.file_format,
            asked.scheduler,
            asked.workers,
            overwrite=asked.overwrite,
            progress=progress or None,
            also=[(layers[name], counter) for name, counter in counters.items()],
            computed=all_there,
            made_from=made_from,
            shelf=shelf,
        )
    files = tuple(str(path) for path in outputs.paths)
    return Published(files, rasters, {name: one.found for name, one in counters.items()})


def _rasters(
    outputs: Outputs,
    image: da.Array,
    layers: Mapping[str, da.Array],
    metadata: Metadata,
    mask: da.Array | None,
) -> Iterator[OutputRaster]:
    """Each has the mask in its file where its metadata says so; others say by an alpha band or a tag."""
    images = [(outputs.dst, image, metadata)]
    if outputs.bands is not None:
        images = [
            (path, image[i : i + 1], metadata.one_band(i)) for i, path in enumerate(outputs.bands)
        ]
    for path, pixels, about in images:
        yield OutputRaster(path, pixels, about, mask=mask if about.has_mask else None)
    for name, path in outputs.layers.items():
        dtype, nodata, resampling = LAYERS[name]
        about = metadata.single_band(dtype, nodata, name)
        yield OutputRaster(path, layers[name], about, resampling)


@contextmanager
def _folder(outputs: Outputs) -> Iterator[None]:
    """The folder of single bands, which goes again if nothing came into it."""
    if outputs.bands is None:
        yield
        return
    folder = Path(outputs.dst)
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise SceneIOError(f'{folder} is a file; layout="bands" needs a folder to write to')
    if not os.path.isdir(folder.parent):
        raise SceneIOError(f"the folder {folder.parent} does not exist; make it first")
    make_folder(folder)
    try:
        yield
    finally:
        with suppress(OSError):  # something is in it, or somebody else has removed it
            folder.rmdir()


@contextmanager
def _told_of(outputs: Outputs) -> Iterator[None]:
    """What goes wrong within is told of the scene: that it has changed says more than what GDAL makes of it."""
    try:
        yield
    except SceneIOError:
        outputs.inputs.check_unchanged()
        raise
    except GDAL_ERRORS as error:
        outputs.inputs.check_unchanged()
        detail = error.__cause__ or error
        raise SceneIOError(
            f"{outputs.scene} cannot be read, it may be cut off or damaged: {detail}"
        ) from error
    except MemoryError as error:
        raise MemoryError(
            f"not enough memory for {outputs.scene}: {error or 'no more is said'}. Give "
            "max_memory='4GB', or what there is, or a smaller window, such as window=256"
        ) from error
