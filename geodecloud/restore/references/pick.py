"""Which of the other dates to use."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

#: Dates used where nobody says how many.
REFERENCES = 4
#: A date that shows less of the ground than this is of no use.
LEAST_CLEAR = 0.1
#: Clouds cost more than what they hide: their rims are missed. A power of the clear share, measured.
_CLEAR_POWER = 2
#: Some days more or less are one to the ground; the clearer date is better then.
_SAME_DAYS = 5


@dataclass(frozen=True)
class Candidate:
    """Another date of the same ground.

    Attributes
    ----------
    date : of acquisition
    clear_share : part of its pixels with data that shows ground, 0-1; 1 where nobody knows
    overlap_share : part of the scene that it covers, 0-1
    """

    date: datetime.date
    clear_share: float = 1.0
    overlap_share: float = 1.0

    @property
    def use(self) -> float:
        """Part of the scene whose ground it shows, 0-1."""
        return self.clear_share * self.overlap_share


def pick_references(
    date: datetime.date, candidates: Sequence[Candidate], count: int = REFERENCES
) -> list[int]:
    """Choose near and clear dates, as many before as after where there are enough.

    Returns
    -------
    list of int
        Indices into `candidates`, at most `count`, by date. Candidates of the scene's own date may be
        others of the same day: whoever lists the scene itself gets it back.
    """

    def cost(index: int) -> tuple[float, int]:
        candidate = candidates[index]
        days = abs((candidate.date - date).days)
        return (days + _SAME_DAYS) / candidate.use**_CLEAR_POWER, index

    useful = [i for i, candidate in enumerate(candidates) if candidate.use >= LEAST_CLEAR]
    before = sorted((i for i in useful if candidates[i].date <= date), key=cost)
    after = sorted((i for i in useful if candidates[i].date > date), key=cost)
    early = min(len(before), max(count - count // 2, count - len(after)))
    if before and after and cost(after[0]) < cost(before[0]):
        early = min(len(before), max(count // 2, count - len(after)))
    chosen = before[:early] + after[: count - early]
    return sorted(chosen, key=lambda i: (candidates[i].date, i))
