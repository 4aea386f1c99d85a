"""What a self-check expects, against the true errors: clear dates under simulated clouds, from file to file.

::

    python benchmarks/self_check.py DATA/sen12mscr DATA/sen12mscr2 [--model s2-10m] [--count 40] [--seed 3]

Each folder holds NAME_clear.tif, see docs/training.md. Over each of them one sky is simulated, and the cloudy scene
cleared with ``--self-check``. The truth is known then, and of it what the model sees no cloud on: "clear" dates have
some of their own, and taking them away is no error. Prints a row a scene, and the correlations.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import rasterio
from scipy.stats import pearsonr, spearmanr

from geodecloud import decloud_scene, read_metadata
from geodecloud.options import Options
from geodecloud.restore.composite import Provenance
from geodecloud.restore.decisions import decide
from geodecloud.scene.scores import Errors
from geodecloud.self_check.expected import KINDS, Expected
from geodecloud.training.simulate import simulate_file

#: One after the other; under an overcast sky nothing is clear, and nothing can be told.
SKIES = ("cumulus", "cirrus", "cumulus", "cirrus", "deck")
#: A clear date is one of which so much is seen as clear; and a mean is one of so many pixels.
LEAST_CLEAR, LEAST_PX = 0.9, 64


@dataclass(frozen=True)
class Case:
    """One scene: its name and sky, the true errors by kind, and those expected."""

    name: str
    sky: str
    true: dict[str, Errors]
    expected: Expected

    @property
    def is_told(self) -> bool:
        return not self.expected.reason and self.true["replaced"].pixels >= LEAST_PX


def cases(clear_dates: Sequence[Path], model: str, seed: int) -> Iterator[Case]:
    for number, clear in enumerate(clear_dates):
        with tempfile.TemporaryDirectory() as folder:
            case = run_case(clear, SKIES[number % len(SKIES)], model, seed, Path(folder))
        if case is not None:
            yield case


def run_case(clear: Path, sky: str, model: str, seed: int, folder: Path) -> Case | None:
    seen, out, codes = folder / "seen.tif", folder / "out.tif", folder / "codes.tif"
    decloud_scene(clear, folder / "again.tif", model=model, provenance=seen)
    ground = read(seen)[0] == Provenance.OBSERVED
    if ground.mean() < LEAST_CLEAR:
        return None
    cloudy = simulate_file(clear, folder, seed, sky)[0]
    report = decloud_scene(cloudy, out, model=model, provenance=codes, self_check=True)
    metadata = read_metadata(clear)
    decisions = decide(metadata, None, Options(model=model))
    channels = list(decisions.channels)
    image, truth = (decisions.codec.decode(read(path)[channels]) for path in (out, clear))
    kinds = read(codes)[0]
    true = {k: Errors.of(image, truth, ground & (kinds == code)) for k, code in KINDS.items()}
    true["replaced"] = sum(true.values(), Errors())
    assert report.self_check is not None
    return Case(clear.stem.removesuffix("_clear"), sky, true, report.self_check)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as src:
        return src.read()


def row(case: Case) -> str:
    cells = [case.name, case.sky]
    for kind in (*KINDS, "replaced"):
        true, told = case.true[kind], case.expected.kinds.get(kind)
        cells.append(f"{true.mae:.4f}" if true.pixels >= LEAST_PX else "")
        cells.append("" if told is None else f"{told.mae:.4f}")
    return f"| {' | '.join(cells)} | {case.expected.reason} |"


def correlations(done: Sequence[Case]) -> Iterator[str]:
    yield "| kind | scenes | Pearson | Spearman | median of expected / true |"
    yield "|---|---|---|---|---|"
    for kind in (*KINDS, "replaced"):
        pairs = [
            (case.true[kind].mae, case.expected.kinds[kind].mae)
            for case in done
            if kind in case.expected.kinds and case.true[kind].pixels >= LEAST_PX
        ]
        if len(pairs) >= 3:
            true, told = np.array(pairs).T
            numbers = pearsonr(true, told)[0], spearmanr(true, told)[0], np.median(told / true)
            yield f"| {kind} | {len(pairs)} | {' | '.join(f'{n:.2f}' for n in numbers)} |"


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--model", default="s2-10m", show_default=True)
@click.option("--count", default=40, show_default=True, help="Clear dates, at most.")
@click.option("--seed", default=3, show_default=True, help="Of the skies.")
def main(folders: tuple[Path, ...], model: str, count: int, seed: int) -> None:
    """Print what was expected and what was true."""
    warnings.simplefilter("ignore")
    logging.getLogger("geodecloud").setLevel(logging.ERROR)
    dates = [path for folder in folders for path in sorted(folder.glob("*_clear.tif"))][:count]
    heads = [
        f"{kind.replace('_', ' ')}, {what}"
        for kind in (*KINDS, "replaced")
        for what in ("true", "expected")
    ]
    print(f"| scene | sky | {' | '.join(heads)} | nothing told, since |")
    print(f"|---|---|{'---|' * len(heads)}---|")
    done = []
    for case in cases(dates, model, seed):
        done.append(case)
        print(row(case), flush=True)
    told = [case for case in done if case.is_told]
    print(
        f"\n{len(dates) - len(done)} of {len(dates)} dates are less than {LEAST_CLEAR:.0%} clear, and left out."
    )
    print(f"{len(told)} of {len(done)} scenes tell; mean absolute errors in reflectance.\n")
    print("\n".join(correlations(told)))


if __name__ == "__main__":
    main()
