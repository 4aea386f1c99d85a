"""A scene and its result, opened side by side: all that is checked with pixels."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import dask.array as da

from geodecloud.errors import GeodecloudError, OptionError, SceneIOError
from geodecloud.masks.areas import open_aoi
from geodecloud.masks.sources import open_clouds, open_data_area
from geodecloud.raster.raster_file import RasterFile
from geodecloud.report.findings import Finding, failed, not_checked
from geodecloud.report.made_by import MadeBy
from geodecloud.report.pixels import Comparison, Layers, Rules
from geodecloud.report.reproduction import MadeAgain, again, choose_windows, decide_again
from geodecloud.report.result import Result, compare_layer
from geodecloud.report.strips import compare, strip_rows
from geodecloud.restore.decisions import Decisions
from geodecloud.scene.cube import Cube
from geodecloud.scene.gaps import Gaps
from geodecloud.source import Source
from geodecloud.windows.tiler import Window


@dataclass(frozen=True)
class Depth:
    """How closely a result is looked at.

    Attributes
    ----------
    windows : how many are made again
    seed : of where they lie
    tolerance : largest difference that they may have, in DN of integers or 0.0001 of reflectance
    workers : threads; None: one per core

    Raises
    ------
    OptionError
        If a number is below 0.
    """

    windows: int = 3
    seed: int = 0
    tolerance: float = 1.0
    workers: int | None = None

    def __post_init__(self) -> None:
        for name in ("windows", "seed", "tolerance"):
            if getattr(self, name) < 0:
                raise OptionError(f"{name} is 0 or more, not {getattr(self, name)}")


@dataclass(frozen=True)
class SideBySide:
    """A result beside its scene.

    Attributes
    ----------
    result, source : the two
    made_by : how the result says it was made
    depth : how closely it is looked at
    codes : provenance (y, x), lazily; None: there is none to go by
    wrong : what is wrong with it besides its pixels
    decisions : what a run decides of the scene; None: see `hindrance`
    hindrance : why the result cannot be made again here
    side : of the chunks that are compared, px
    """

    result: Result
    source: Source
    made_by: MadeBy
    depth: Depth
    codes: da.Array | None
    wrong: tuple[Finding, ...]
    decisions: Decisions | None
    hindrance: str
    side: int

    @classmethod
    def of(
        cls,
        result: Result,
        source: Source,
        made_by: MadeBy,
        provenance: str | Path | None,
        depth: Depth,
    ) -> SideBySide:
        """Open all that is needed; nothing is read but a sample of the scene."""
        metadata = source.metadata
        side = strip_rows(metadata.count, metadata.grid.shape_yx[1], metadata.dtypes[0])
        codes, wrong = _open_codes(provenance, source, side)
        decisions, hindrance = None, made_by.hindrance()
        if not hindrance and made_by.options is not None:
            try:
                decisions = decide_again(source, again(made_by.options, made_by.means))
            except GeodecloudError as error:
                hindrance = str(error)
        return cls(result, source, made_by, depth, codes, wrong, decisions, hindrance, side)

    def check(self) -> Iterator[Finding]:
        """Compare all of it, then make windows again."""
        yield from self.wrong
        layers = self._layers()
        done = compare(layers, self._rules(), self.side, self.result.name, self.depth.workers)
        yield from done.findings()
        if self.decisions is None:
            yield not_checked("bands passed", self.hindrance)
            yield not_checked("made again", self.hindrance)
        elif self.depth.windows:
            yield from self._make_again(layers, done, self.decisions)
        else:
            yield not_checked("made again", "no window was asked for")

    def _layers(self) -> Layers:
        """Scene and result, lazily, on one grid."""
        scene = self.source.open(self.side)
        cube = Cube.of(scene)
        area = open_data_area(cube)
        return Layers(
            scene=scene.data,
            result=self.result.open(self.side),
            valid=None if area is None else area[0],
            may_change=self._may_change(cube),
            mask=self.result.expected_mask(self.source, scene, self.side),
            masks=self.result.masks(self.side),
            codes=self.codes,
        )

    def _may_change(self, cube: Cube) -> da.Array | None:
        """Where mask and area of interest that were asked for let pixels change; None: not known."""
        decisions, asked = self.decisions, self.made_by.options
        if decisions is None or asked is None:
            return None
        pixels, metadata = cube.array.data, self.source.metadata
        allowed = []
        try:
            if asked.aoi is not None:
                allowed.append(open_aoi(asked.aoi, metadata.grid, pixels.chunks[-2:]))
            if decisions.mask_kind == "given":
                scale, offset = decisions.formula
                known = replace(asked, scale=scale, offset=offset)
                clouds = open_clouds(cube, (pixels, cube.index), metadata, known)
                allowed += [] if clouds is None else [clouds[0] > 0]
        except GeodecloudError:  # such as a classifier that is not installed
            return None
        return functools.reduce(operator.and_, allowed) if allowed else None

    def _rules(self) -> Rules:
        metadata, decisions = self.result.whole, self.decisions
        return Rules(
            nodata=metadata.nodata if decisions is None else decisions.codec.nodata,
            gaps=Gaps() if decisions is None else decisions.gaps,
            alpha=metadata.alpha,
            channels=None if decisions is None else decisions.channels,
            has_references=self.made_by.has_references,
        )

    def _make_again(
        self, layers: Layers, done: Comparison, decisions: Decisions
    ) -> Iterator[Finding]:
        assert self.made_by.options is not None
        height, width = self.source.metadata.grid.shape_yx
        windows = choose_windows(
            done.changed, Window(0, 0, width, height), self.depth.windows, self.depth.seed
        )
        means = self.made_by.means
        asked = replace(again(self.made_by.options, means), workers=self.depth.workers)
        made = MadeAgain(self.source, asked, decisions, windows)
        try:
            made.compute()
        except GeodecloudError as error:  # such as a reference that cannot be read
            yield not_checked("made again", str(error))
            return
        about = self.depth.tolerance, self.made_by.version_note, means.doubt()
        yield from made.compare(layers.result, layers.codes, *about)


def _open_codes(
    provenance: str | Path | None, source: Source, side: int
) -> tuple[da.Array | None, tuple[Finding, ...]]:
    """The provenance raster, lazily, and what is wrong with what it says besides its pixels."""
    if provenance is None:
        return None, ()
    expected = source.metadata.single_band("uint8", 0, "provenance")
    try:
        file = RasterFile.at(str(provenance))
        wrong = tuple(compare_layer(file.metadata, expected))
        fits = file.metadata.grid.shape_yx == expected.grid.shape_yx and file.metadata.count == 1
        return (file.open(side).data[0] if fits else None), wrong
    except SceneIOError as error:
        return None, (failed("provenance", str(error)),)
