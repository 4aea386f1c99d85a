"""Which scenes of a batch are other dates of the same ground, and which of them fill which."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geodecloud.errors import OptionError
from geodecloud.restore.references import MAX_REFERENCES, REFERENCES, Candidate, pick_references
from geodecloud.scene.footprint import lonlat_footprint
from geodecloud.source import Source

log = logging.getLogger(__name__)

#: Scenes that share less of the ground than this are of other places.
_LEAST_OVERLAP = 0.1


@dataclass(frozen=True)
class DatedScene:
    """A scene of a batch whose day is known.

    Attributes
    ----------
    path : of the scene
    date : of acquisition
    outline : on the globe; None: it has no place there
    clear_share : 0-1, as the provider says; 1 where nobody says
    """

    path: str
    date: datetime.date
    outline: Any
    clear_share: float = 1.0

    @classmethod
    def of(cls, path: str, source: Source) -> DatedScene | None:
        """What a source says; None: it has no day, or no place."""
        outline = lonlat_footprint(source.grid)
        if source.date is None or outline is None:
            return None
        cloud = None if source.facts is None else source.facts.cloud_percent
        return cls(path, source.date, outline, 1.0 if cloud is None else 1 - cloud / 100)


def count_references(asked: Any) -> int:
    """How many other dates a scene of a batch may have: "auto" (None), "none", or a number.

    Raises
    ------
    OptionError
        If it is something else.
    """
    if asked in (None, "auto"):
        return REFERENCES
    if asked == "none":
        return 0
    try:
        count = int(asked)
    except (TypeError, ValueError):
        count = -1
    if not 0 <= count <= MAX_REFERENCES:
        raise OptionError(
            f"references of a batch are 'auto', 'none', or a number up to {MAX_REFERENCES}, not {asked!r}"
        )
    return count


def choose_references(scenes: Sequence[DatedScene], count: int) -> Mapping[str, tuple[str, ...]]:
    """For each scene the other dates of its ground, nearest and clearest, before and after."""
    chosen = {}
    for scene in scenes if count else ():
        others = [other for other in scenes if other.path != scene.path]
        overlaps = [_overlap(scene, other) for other in others]
        near = [
            (other, Candidate(other.date, other.clear_share, overlap))
            for other, overlap in zip(others, overlaps, strict=True)
            if overlap >= _LEAST_OVERLAP and other.date != scene.date
        ]
        picked = pick_references(scene.date, [candidate for _, candidate in near], count)
        chosen[scene.path] = tuple(near[i][0].path for i in picked)
    return chosen


def _overlap(scene: DatedScene, other: DatedScene) -> float:
    """Share of a scene's outline that another one covers."""
    if scene.outline is other.outline:  # of one tile
        return 1.0
    area = scene.outline.area
    return float(scene.outline.intersection(other.outline).area / area) if area else 0.0
