"""What became of the scenes of a batch: as a table, as CSV, and as outlines for a map."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from geodecloud.raster.whole_files import replacing, write_text
from geodecloud.scene.footprint import lonlat_footprint
from geodecloud.scene.grid import Grid

SUMMARY, FOOTPRINTS = "summary.csv", "footprints.gpkg"


@dataclass(frozen=True)
class Outcome:
    """What became of one scene; a row of the summary.

    Attributes
    ----------
    state : "done"; "skipped": was done before and has not changed; "failed"; "copy" of another
        scene; "outside" the area of interest; "to do" in a dry run
    valid_px : pixels with data
    observed, restored, synthesised, left, other_date : shares of them, 0 to 1
    expected_error : mean absolute error in reflectance to expect of replaced pixels, where a self-check was
        asked for and could tell
    """

    scene: str
    state: str
    out: str = ""
    reason: str = ""
    model: str = ""
    grid: str = ""
    valid_px: int | None = None
    observed: float | None = None
    restored: float | None = None
    synthesised: float | None = None
    left: float | None = None
    other_date: float | None = None
    expected_error: float | None = None

    @classmethod
    def of_record(cls, scene: str, report: Mapping[str, Any]) -> Outcome | None:
        """That of a scene that was done before; None where the record is not as a batch writes it."""
        known = {field.name: str(field.type) for field in fields(cls)}
        for name, value in report.items():
            kinds = (str,) if known.get(name) == "str" else (int, float, type(None))
            if name not in known or name in ("scene", "state") or not isinstance(value, kinds):
                return None
            # nor NaN; a table holds no more
            if isinstance(value, int | float) and not 0 <= value < 2**63:
                return None
        return cls(scene, "skipped", **report)


@dataclass(frozen=True)
class FolderReport:
    """What became of all of them, in the order they were found."""

    out_dir: str
    outcomes: tuple[Outcome, ...]

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """Those that could not be done."""
        return tuple(outcome for outcome in self.outcomes if outcome.state == "failed")

    def count(self, state: str) -> int:
        """How many are in a state."""
        return sum(outcome.state == state for outcome in self.outcomes)


def write_summary(out_dir: Path, outcomes: Sequence[Outcome]) -> None:
    """``summary.csv``: the state of the results, the same whichever run has made them."""
    text = io.StringIO()
    writer = csv.DictWriter(text, asdict(Outcome("", "")).keys(), lineterminator="\n")
    writer.writeheader()
    for outcome in outcomes:
        writer.writerow(asdict(_as_result(outcome)))
    write_text(out_dir / SUMMARY, text.getvalue())


def _as_result(outcome: Outcome) -> Outcome:
    """The outcome whichever run has made it, in text that can be written.

    Names from old file systems may be no UTF-8; one of them must not cost the others their summary.
    """
    texts = {
        name: value.encode("utf-8", "backslashreplace").decode()
        for name, value in asdict(outcome).items()
        if isinstance(value, str)
    }
    if outcome.state == "skipped":
        texts["state"] = "done"
    return replace(outcome, **texts)  # type: ignore[arg-type]


def write_footprints(
    out_dir: Path, outcomes: Sequence[Outcome], grids: Sequence[Grid | None]
) -> None:
    """``footprints.gpkg``: the summary with the scenes' outlines, for a map."""
    import geopandas

    rows = [asdict(_as_result(outcome)) for outcome in outcomes]
    outlines = [None if grid is None else lonlat_footprint(grid) for grid in grids]
    frame = geopandas.GeoDataFrame(rows, geometry=outlines, crs="EPSG:4326")
    if rows:
        with replacing(out_dir / FOOTPRINTS) as part:
            frame.to_file(part, layer="scenes", driver="GPKG")


def format_table(report: FolderReport) -> str:
    """The outcomes as a table for people."""
    shares = ("observed", "restored", "other_date", "synthesised", "left")
    lines = [f"{'state':<8} {'  '.join(f'{name:>11}' for name in shares)}  scene"]
    for outcome in report.outcomes:
        values = [getattr(outcome, name) for name in shares]
        cells = ["" if value is None else f"{100 * value:.1f} %" for value in values]
        name = Path(_as_result(outcome).scene).name
        lines.append(f"{outcome.state:<8} {'  '.join(f'{cell:>11}' for cell in cells)}  {name}")
        if outcome.reason:
            lines.append(f"{'':<61}{outcome.reason}")
    states = dict.fromkeys(outcome.state for outcome in report.outcomes)
    counts = ", ".join(f"{report.count(state)} {state}" for state in states)
    return "\n".join([*lines, f"{len(report.outcomes)} scenes: {counts or 'none found'}"])
