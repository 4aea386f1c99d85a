"""A result as a notebook shows it: a picture before and after, the kinds of its pixels, and what was looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geodecloud.pictures.drawing import Colours, Look, draw_before_after, join
from geodecloud.pictures.embed import png_bytes, uri
from geodecloud.pictures.kinds import MEANINGS, PROVENANCE_RGB, css_colour, name_of
from geodecloud.raster.whole_files import replacing
from geodecloud.restore.composite import Provenance
from geodecloud.scene.cube import Cube, Scene

if TYPE_CHECKING:
    from jinja2 import Template

_GAP_PX = 8
#: Width of both pictures together, and most bytes of them as a file.
_THUMBNAIL_PX, _THUMBNAIL_BYTES = 640, 100_000

_PAGE = """\
<div style="max-width: 44rem; font-family: sans-serif">
<p><strong>geodecloud</strong>: {{ title }}</p>
<img src="{{ picture }}" alt="The scene before, on the left, and after cloud removal, on the right">
<table>
<caption style="caption-side: bottom; text-align: left">{{ note }}</caption>
<thead><tr><th scope="col">kind</th><th scope="col">share</th><th scope="col">meaning</th></tr></thead>
<tbody>
{%- for kind in kinds %}
<tr><th scope="row" style="text-align: left"><span style="display: inline-block; width: 0.8em; height: 0.8em; \
background: {{ kind.colour }}; border: 1px solid #888"></span> {{ kind.name }}</th>\
<td>{{ "%.2f"|format(100 * kind.share) }}&nbsp;%</td><td style="text-align: left">{{ kind.meaning }}</td></tr>
{%- endfor %}
</tbody>
</table>
</div>
"""


@dataclass(frozen=True)
class Picture:
    """A picture that notebooks show.

    Attributes
    ----------
    png : the bytes of a PNG file
    about : what it shows, in words
    """

    png: bytes
    about: str

    def save(self, path: str | Path) -> Path:
        """Write it to a file."""
        with replacing(Path(path)) as part:
            part.write_bytes(self.png)
        return Path(path)

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        return f"<Picture: {self.about}>"


@dataclass(frozen=True)
class View:
    """What is shown of a result; all in memory.

    Attributes
    ----------
    before, after : (band, y, x)
    codes : (y, x), provenance
    names : of the bands
    note : which part of the result it is, in words
    """

    before: NDArray[Any]
    after: NDArray[Any]
    codes: NDArray[np.uint8]
    names: Sequence[str | None]
    note: str

    @classmethod
    def of(
        cls, scene: Scene, image: Scene, provenance: Any, bands: Sequence[str], note: str
    ) -> View:
        """A result in memory; of several dates the first.

        Parameters
        ----------
        scene, image, provenance : before, after, and codes of the pixels, as `geodecloud.pipeline.Declouded`
        bands : that were asked for by name
        """
        cube = Cube.of(scene, bands)
        dims = cube.array.dims
        first = dict.fromkeys(dims[:-3], 0)
        before, after = (one.array.isel(first).values for one in (cube, Cube.of(image, bands)))
        codes = provenance.transpose(*dims[:-3], *dims[-2:]).isel(first).values
        return cls(before, after, codes, cube.metadata.names, note)

    def step(self, width_px: int) -> int:
        """Of how many pixels in a row one is shown."""
        height, width = self.codes.shape
        most = max(1, (width_px - _GAP_PX) // 2)
        return max(1, -(-width // most), -(-height // (2 * most)))

    def draw(self, width_px: int) -> NDArray[np.uint8]:
        """Before and after (3, h, w), side by side, of at most `width_px`; pixels are left out to fit."""
        step = self.step(width_px)
        thin = np.s_[..., ::step, ::step]
        colours = Colours.of(self.names)
        codes, needed = self.codes[thin], colours.needed
        look = Look(
            self.before[needed][thin], self.after[needed][thin], codes != Provenance.NODATA, step
        )
        clear = codes == Provenance.OBSERVED
        return join(draw_before_after(look, colours.within(needed), clear), 2, _GAP_PX)

    def picture(self, width_px: int) -> Picture:
        """The same as a file that notebooks show."""
        return Picture(png_bytes(self.draw(width_px)), f"before and after; {self.note}")

    def html(self, title: str) -> str:
        """A thumbnail, and the shares of each kind of pixels."""
        width = _THUMBNAIL_PX
        while len(png := png_bytes(self.draw(width))) > _THUMBNAIL_BYTES and width > 64:
            width = 3 * width // 4
        step = self.step(width)
        thinned = f" The picture shows one pixel of {step} x {step}." if step > 1 else ""
        values = {"title": title, "picture": uri("image/png", png), "note": self.note + thinned}
        return _template().render(values, kinds=self.kinds)

    @property
    def kinds(self) -> list[Mapping[str, Any]]:
        """The kinds of pixels there are, with their shares of the pixels with data; nodata, of all."""
        counts = np.bincount(self.codes.ravel(), minlength=len(Provenance))
        total, valid = int(counts.sum()), int(counts.sum() - counts[Provenance.NODATA])
        return [
            {
                "name": name_of(code),
                "meaning": meaning,
                "colour": css_colour(PROVENANCE_RGB[code]),
                "share": counts[code] / (total if code is Provenance.NODATA else valid),
            }
            for code, meaning in MEANINGS.items()
            if counts[code]
        ]


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    return Environment(autoescape=True, undefined=StrictUndefined).from_string(_PAGE)
