"""Pictures of scenes and results as files."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from geodecloud.errors import SceneIOError
from geodecloud.pictures.drawing import Colours, draw_before_after, join
from geodecloud.raster.whole_files import replacing
from geodecloud.report.pair import ScenePair

_GAP_PX = 8


def draw_small(pair: ScenePair, most_yx: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Pictures (3, h, w) of a scene before and after, of at most so many px."""
    colours = Colours.of(pair.source.metadata.names)
    look = pair.look(most_yx, colours.needed)
    return draw_before_after(look, colours.within(colours.needed))


def write_before_after(pair: ScenePair, png: str | Path, width_px: int = 2000) -> Path:
    """Write a PNG of at most `width_px`: the scene before and after, side by side."""
    pictures = draw_small(pair, (width_px, (width_px - _GAP_PX) // 2))
    return write_picture(join(pictures, axis=2, gap_px=_GAP_PX), Path(png))


def write_picture(picture: NDArray[np.uint8], path: Path) -> Path:
    """Write (3, H, W) uint8 as PNG or, where the name says so, JPEG."""
    jpeg = path.suffix in (".jpg", ".jpeg")
    options = {"driver": "JPEG", "quality": 88} if jpeg else {"driver": "PNG"}
    height, width = picture.shape[1:]
    shape = {"width": width, "height": height, "count": 3, "dtype": "uint8"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a picture needs no place
        try:
            with replacing(path) as part, rasterio.open(part, "w", **options, **shape) as dst:
                dst.write(picture)
        except RasterioError as error:
            raise SceneIOError(f"{path} cannot be written: {error}") from error
    path.with_name(path.name + ".aux.xml").unlink(missing_ok=True)
    return path
