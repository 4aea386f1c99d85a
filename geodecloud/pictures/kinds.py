"""The kinds of pixels in words and colours, the same wherever they are told."""

from __future__ import annotations

import numpy as np

from geodecloud.restore.composite import Provenance

#: Colours of the provenance codes in pictures: nodata, observed, restored, synthesised, left, other date.
PROVENANCE_RGB = np.array(
    [(0, 0, 0), (70, 70, 70), (90, 180, 235), (240, 150, 40), (235, 235, 235), (120, 200, 90)],
    np.uint8,
)
#: What each kind of pixel is, in the order in which they are told.
MEANINGS: dict[Provenance, str] = {
    Provenance.OBSERVED: "bit-identical to the scene",
    Provenance.RESTORED: "changed; the ground was visible through thin cloud or shadow",
    Provenance.OTHER_DATE: "changed; the ground of another date, matched to the scene",
    Provenance.SYNTHESISED: "changed; the ground was not visible: do not measure here",
    Provenance.LEFT: "cloud, left as it was",
    Provenance.NODATA: "no data in the scene",
}


def name_of(code: Provenance) -> str:
    """The word for a kind of pixel."""
    return code.name.lower().replace("_", " ")


def css_colour(rgb: object) -> str:
    """A colour as style sheets have it."""
    red, green, blue = (int(value) for value in rgb)  # type: ignore[attr-defined]
    return f"#{red:02x}{green:02x}{blue:02x}"
