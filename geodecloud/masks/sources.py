"""Where pixels may change, besides what the model sees: the sources behind the option `mask`.

Each source says for each pixel one of three things: nothing (0), cloud or shadow (`CLOUD`), or
cloud that hides the ground (`HIDING`).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from geodecloud.compute.chunks import Indexed, map_chunks_with_halo
from geodecloud.errors import BandError, OptionError
from geodecloud.masks.areas import open_aoi
from geodecloud.masks.classes import CLOUD as CLOUD
from geodecloud.masks.classes import HIDING as HIDING
from geodecloud.masks.classes import classify, clouds_of
from geodecloud.masks.files import open_mask
from geodecloud.options import Options
from geodecloud.scene.bands import canonical_name, match_bands
from geodecloud.scene.cube import Cube
from geodecloud.scene.metadata import CLASS_BAND, SCL, VALID, Metadata
from geodecloud.scene.reflectance import Codec
from geodecloud.windows.tiler import Window

_SCL_NODATA = 0

#: Bands the classifier of s2cloudless was trained on, in its order.
_S2CLOUDLESS_BANDS = ("B01", "B02", "B04", "B05", "B08", "B8A", "B09", "B10", "B11", "B12")
#: Radii in m of its mean and of the margin around it, as its authors advise for 10 m.
_S2CLOUDLESS_MEAN_M, _S2CLOUDLESS_MARGIN_M = 220, 110


class Masks(NamedTuple):
    """What is known of a scene's pixels before a network sees them, lazily; None: nothing is.

    Attributes
    ----------
    valid : bool, where the scene has data by its mask and its classification
    clouds : uint8, 0, `CLOUD` or `HIDING`
    allowed : bool, pixels in the area of interest, which may change
    """

    valid: Indexed | None
    clouds: Indexed | None
    allowed: Indexed | None


def open_masks(cube: Cube, pixels: Indexed, metadata: Metadata, options: Options) -> Masks:
    """All that is known of a scene's pixels before a network sees them; see `open_clouds`."""
    valid = open_data_area(cube)
    clouds = open_clouds(cube, pixels, metadata, options)
    if options.aoi is None:
        return Masks(valid, clouds, None)
    return Masks(valid, clouds, (open_aoi(options.aoi, metadata.grid, pixels[0].chunks[-2:]), "yx"))


def open_clouds(
    cube: Cube, pixels: Indexed, metadata: Metadata, options: Options
) -> Indexed | None:
    """What the asked mask says of clouds, lazily; None where it says nothing.

    Parameters
    ----------
    cube, metadata : the scene
    pixels : its DN
    """
    source: Callable[..., Indexed | None] = _SOURCES.get(str(options.mask), _from_file)
    return source(cube, pixels, metadata, options)


def open_data_area(cube: Cube) -> Indexed | None:
    """Where the scene has data by its mask and its classification, lazily; None: it has neither."""
    areas = []
    if found := cube.coordinate(VALID):
        areas.append((da.asarray(found[0].data).astype(bool), found[1]))
    if found := cube.coordinate(SCL):
        areas.append((_is_classified(da.asarray(found[0].data)), found[1]))
    if not areas:
        return None
    both = functools.reduce(operator.and_, (area for area, _ in areas))
    return both, max((index for _, index in areas), key=len)


def _is_classified(classes: da.Array) -> da.Array:
    """Where a scene classification has a class; as floats it may have NaN."""
    return (classes != _SCL_NODATA) & (classes == classes)


def _from_nothing(*_: Any) -> None:
    return None


def _from_classes(
    cube: Cube, pixels: Indexed, metadata: Metadata, options: Options
) -> Indexed | None:
    """The scene classification of a level 2A product, or the band of a raster that is asked for; None: there is none."""
    if (found := cube.coordinate(SCL)) is not None:
        classes, index = da.asarray(found[0].data), found[1]
    elif str(options.mask) == "scl":
        image, index = pixels
        classes = image.take(metadata.names.index(CLASS_BAND), axis=index.index("c"))
        index = index.replace("c", "")
    else:
        return None
    return classes.map_blocks(_clouds_of_classes, dtype=np.uint8), index


def _clouds_of_classes(classes: NDArray[Any]) -> NDArray[np.uint8]:
    return clouds_of(classify(classes, "scl"))


def _from_file(cube: Cube, pixels: Indexed, metadata: Metadata, options: Options) -> Indexed:
    """A raster of the user's: a known classification, or cloud where it is not 0."""
    chunks_yx = pixels[0].chunks[-2:]
    valid = None
    if isinstance(cube.array.data, np.ndarray) and metadata.nodata is not None:
        flat = cube.array.data.reshape(-1, *metadata.grid.shape_yx)
        valid = (flat != metadata.nodata).any(axis=0)
    meanings = open_mask(options.mask, metadata.grid, chunks_yx, valid)
    return meanings.map_blocks(clouds_of, dtype=np.uint8), "yx"


def _from_s2cloudless(cube: Cube, pixels: Indexed, metadata: Metadata, options: Options) -> Indexed:
    """The classifier of s2cloudless on the bands of a level 1C scene."""
    try:
        import s2cloudless  # noqa: F401
    except ImportError as error:
        raise OptionError(
            'mask="s2cloudless" needs a package that is not installed: pip install '
            "'geodecloud[s2cloudless]'"
        ) from error
    missing = set(_S2CLOUDLESS_BANDS) - {canonical_name(name) for name in metadata.names}
    if missing:
        raise BandError(
            f"s2cloudless works on level 1C with the bands {' '.join(_S2CLOUDLESS_BANDS)}; the scene "
            f"has no {', '.join(sorted(missing))}"
        )
    channels = tuple(band - 1 for band in match_bands(metadata.names, _S2CLOUDLESS_BANDS))
    codec = metadata.codec(channels, options.scale, options.offset)
    metres = metadata.grid.res_xy[0] if metadata.grid.has_place else 10.0
    function = _S2Cloudless(
        codec,
        channels,
        mean_px=max(1, round(_S2CLOUDLESS_MEAN_M / metres)),
        margin_px=max(1, round(_S2CLOUDLESS_MARGIN_M / metres)),
    )
    clouds = map_chunks_with_halo(function, [pixels], function.halo_px, [(None, np.uint8)])
    return clouds[0], pixels[1].replace("c", "")


@dataclass(frozen=True)
class _S2Cloudless:
    """One block through the classifier; travels to other processes without it."""

    codec: Codec
    channels: tuple[int, ...]
    mean_px: int
    margin_px: int

    @property
    def halo_px(self) -> int:
        return self.mean_px + self.margin_px + 1

    def __call__(
        self, dn: NDArray[Any], *, core: Window, padded: Window
    ) -> tuple[NDArray[np.uint8]]:
        detector = _detector(self.mean_px, self.margin_px)
        reflectance = self.codec.decode(dn[list(self.channels)])
        image = np.ascontiguousarray(reflectance.transpose(1, 2, 0))
        cloud = detector.get_cloud_masks(image[None])[0].astype(np.uint8)
        return (np.ascontiguousarray(cloud[core.relative_to(padded).slices_yx]),)


@functools.cache
def _detector(mean_px: int, margin_px: int) -> Any:
    import s2cloudless

    return s2cloudless.S2PixelCloudDetector(
        threshold=0.4, average_over=mean_px, dilation_size=margin_px
    )


_SOURCES: dict[str, Callable[..., Indexed | None]] = {
    "auto": _from_classes,
    "scl": _from_classes,
    "none": _from_nothing,
    "s2cloudless": _from_s2cloudless,
}
