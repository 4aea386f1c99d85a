r"""Whether the expected error is right: predicted and found errors under simulated clouds whose truth is known.

::

    python benchmarks/confidence.py DATA --model s2-10m --config examples/train_s2_10m.toml \
        --picture docs/images/confidence.svg

DATA holds sen12mscr/, of which clear dates lie under simulated clouds, drawn by another seed than those of the table on
the card: dates that the table was not measured on, and those that it was (``select_pairs`` of the config); where there is
sen12mscr2/, its dates, too. With
series/NAME, one date of each is declouded with its neighbours as references, for the pixels that other dates fill.
A table a set, in Markdown: pixels in fifths of the predicted error, and Spearman's rank correlation.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import click
import numpy as np
import rioxarray
import xarray as xr
from scipy.stats import spearmanr

from geodecloud.models.catalogue import get_card
from geodecloud.options import Options
from geodecloud.pipeline import decloud
from geodecloud.raster.whole_files import write_text
from geodecloud.restore.composite import Provenance
from geodecloud.training.config import Config
from geodecloud.training.expected_error import draw_pair, find_replaced
from geodecloud.training.pairs import Pair, read_pairs

#: Of the skies: not that of the tables.
SEED = 2027
KINDS = {2: "restored", 3: "synthesised", 5: "other date"}
COLOURS = {"restored": "#1e88c8", "synthesised": "#e58a1f", "other date": "#4f9a35"}
BANDS = ("B02", "B03", "B04", "B08")
#: Dates of a series that are declouded, and their neighbours on each side that may fill.
DATES, AROUND = 12, 2

Found = dict[str, list[tuple[np.ndarray, np.ndarray]]]


def simulated(grounds: list[Pair], textures: list[np.ndarray], model: str, skies: int) -> Found:
    """Predicted and found errors by kind, of each scene."""
    found: Found = defaultdict(list)
    for sky in range(skies):
        for place, ground in enumerate(grounds):
            one = find_replaced(draw_pair(ground, (SEED, sky, place), textures), model)
            for code in (Provenance.RESTORED, Provenance.SYNTHESISED):
                where = one.provenance == code
                found[KINDS[code]].append((one.confidence[where], one.error[where]))
    return found


def filled(series: Path, model: str) -> Found:
    """The same of pixels that other dates fill: simulated clouds over dates that are clear."""
    found: Found = defaultdict(list)
    dates = []
    for path in sorted(series.glob("*.tif")):
        raster = rioxarray.open_rasterio(path).load()
        if len(raster) == 5 and np.isin(raster[4], (2, 4, 5, 6, 7)).mean() > 0.98:
            dates.append((path.stem, raster))
    for number in range(AROUND, len(dates) - AROUND)[:DATES]:
        near = [dates[number + step] for step in range(-AROUND, AROUND + 1) if step]
        ground = (dates[number][1][:4].values * 1e-4).astype(np.float32)
        pair = draw_pair(Pair(dates[number][0], ground, ground, BANDS), (SEED, number))
        dn = pair.codec.encode(pair.cloudy.astype(np.float64))
        scene = as_scene(dates[number][1], dn)
        references = [as_scene(raster, raster[:4].values) for _, raster in near]
        result = decloud(scene, Options(model=model, references=references))
        where = result.provenance.values == Provenance.OTHER_DATE
        error = np.abs(pair.codec.decode(result.image.values) - pair.clear).mean(axis=0)
        found["other date"].append((result.confidence.values[where], error[where]))
    return found


def as_scene(raster: xr.DataArray, dn: np.ndarray) -> xr.DataArray:
    """The four bands of a date."""
    scene = raster[:4].copy(data=dn.astype(np.uint16))
    scene.attrs = {
        "long_name": BANDS,
        "scale_factor": 1e-4,
        "add_offset": 0.0,
        "_FillValue": 0,
    }
    return scene


def bins(
    found: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[list[tuple[float, float, int]], float]:
    """Mean predicted and found error and number of pixels of each fifth, and Spearman's correlation."""
    told, true = (np.concatenate([pair[i] for pair in found]) for i in (0, 1))
    fifths = np.array_split(np.argsort(told, kind="stable"), 5)
    rows = [(float(told[f].mean()), float(true[f].mean()), f.size) for f in fifths]
    return rows, float(spearmanr(told, true)[0])


def report(title: str, found: Found) -> dict[str, list[tuple[float, float, int]]]:
    """Print one table; the fifths of each kind."""
    print(
        f"\n{title}\n\n| kind | fifth | predicted | found | predicted / found | pixels | Spearman |"
    )
    print("|---|---|---|---|---|---|---|")
    every = [pair for pairs in found.values() for pair in pairs]
    shown = {}
    for kind, pairs in [*found.items(), *([("all", every)] if len(found) > 1 else [])]:
        if sum(told.size for told, _ in pairs) < 5:
            continue
        shown[kind], rank = bins(pairs)
        for number, (told, true, count) in enumerate(shown[kind], start=1):
            last = f"{rank:.2f}" if number == 1 else ""
            print(
                f"| {kind} | {number} | {told:.4f} | {true:.4f} | {told / true:.2f} | {count} | {last} |"
            )
    return shown


def draw(shown: dict[str, list[tuple[float, float, int]]]) -> str:
    """The reliability diagram as SVG: fifths of each kind, and a quarter more and less than right."""
    top = 1.15 * max(value for rows in shown.values() for row in rows for value in row[:2])
    side, edge = 360, 50

    def at(told: float, true: float) -> str:
        return f"{edge + side * told / top:.1f},{20 + side * (1 - true / top):.1f}"

    ink = 'fill="none" stroke="#607d8b"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side + 190} {side + 70}" '
        f'width="{side + 190}" height="{side + 70}" font-family="sans-serif" font-size="12">',
        f'<rect width="{side + 190}" height="{side + 70}" fill="white"/>',
        f'<polygon points="{at(0, 0)} {at(top, 0.75 * top)} {at(top, top)} {at(0.75 * top, top)}" '
        'fill="#eceff1"/>',
        f'<rect x="{edge}" y="20" width="{side}" height="{side}" {ink}/>',
        f'<polyline points="{at(0, 0)} {at(top, top)}" {ink}/>',
        f'<text x="{edge + side / 2}" y="{side + 58}" text-anchor="middle">predicted error</text>',
        f'<text transform="translate(14 {20 + side / 2}) rotate(-90)" text-anchor="middle">'
        "found error</text>",
    ]
    for step in np.arange(0, top, 0.02):
        x, y = at(step, step).split(",")
        parts.append(f'<text x="{x}" y="{side + 38}" text-anchor="middle">{step:.2f}</text>')
        parts.append(f'<text x="{edge - 6}" y="{float(y) + 4}" text-anchor="end">{step:.2f}</text>')
    for number, (kind, rows) in enumerate(shown.items()):
        colour = COLOURS[kind]
        line = " ".join(at(told, true) for told, true, _ in rows)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}"/>')
        for told, true, _ in rows:
            x, y = at(told, true).split(",")
            parts.append(f'<circle cx="{x}" cy="{y}" r="4.5" fill="{colour}"/>')
        high = 40 + 22 * number
        parts.append(f'<circle cx="{edge + side + 20}" cy="{high - 4}" r="4.5" fill="{colour}"/>')
        parts.append(f'<text x="{edge + side + 32}" y="{high}">{kind}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--model", default="s2-10m", show_default=True, help="Its card has a table.")
@click.option("--config", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--skies", default=4, show_default=True, help="Over each clear date.")
@click.option("--picture", type=click.Path(path_type=Path), help="The diagram, as SVG.")
def main(data: Path, model: str, config: Path, skies: int, picture: Path | None) -> None:
    """Print the tables, and draw what was not measured on."""
    options, card = Config.read(config), get_card(model)
    if card.expected_error is None:
        raise click.UsageError(f"the card of {model} has no table; see tools/measure_card.py")
    pairs = read_pairs(data / "sen12mscr", options.bands, options.pair_bands)
    textures = [pair.cloudy for pair in pairs if pair.name in options.texture_pairs]
    others = [pair for pair in pairs if pair.name not in options.select_pairs]
    same = [pair for pair in pairs if pair.name in options.select_pairs]
    print(f"{model}, sha256 {card.sha256[:12]}…; its table: {card.expected_error.measured}")
    about = f"{len(others)} clear dates that the table was not measured on, {skies} skies each"
    shown = report(about, simulated(others, textures, model, skies))
    report(
        f"The {len(same)} dates of the table, under other skies",
        simulated(same, textures, model, skies),
    )
    if (data / "sen12mscr2").is_dir():
        further = read_pairs(data / "sen12mscr2", options.bands, options.pair_bands)
        about = f"{len(further)} dates of further places, 2 skies each"
        report(about, simulated(further, textures, model, 2))
    shown.pop("all", None)
    for series in sorted((data / "series").glob("[rb]*")):
        found = report(
            f"{series.name}, from other dates (root mean square is what is predicted)",
            filled(series, model),
        )
        if series.name == "romania":
            shown |= {"other date": found["other date"]} if found else {}
    if picture is not None:
        write_text(picture, draw(shown))


if __name__ == "__main__":
    main()
