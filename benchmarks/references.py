"""What other dates are worth: holes in the shape of real clouds, over real clear dates.

::

    python benchmarks/references.py DATA            # tables on stdout, in Markdown
    python benchmarks/references.py DATA --series DATA/series/romania

DATA holds series/NAME/*.tif: one file a date, bands first and the scene classification last where
there are five, the date in the tag `date` or in the file's name. For every clear date, clouds of
the cloudy dates (of the first series that has any) are drawn over it, and the ground below is made
from the others.
"""

from __future__ import annotations

import datetime
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import rasterio
from scipy.ndimage import binary_erosion

from geodecloud.restore.references import (
    BandIndex,
    Candidate,
    fill,
    find_missed_clouds,
    find_shadows,
    pick_references,
    plan_stride,
    solve,
    take_sample,
)
from geodecloud.windows.tiler import Window

#: SCL: dark, vegetation, soil, water, unclassified; cloud and shadow.
CLEAR, HIDING, CLOUD = (2, 4, 5, 6, 7), (3, 8, 9), (8, 9)
#: Margin around clouds, as a mask has it.
MARGIN_PX = 3
BANDS = BandIndex(blue=0, red=2, nir=3)


@dataclass
class Series:
    """Dates (D), reflectance (D, 4, H, W), clear and hidden pixels (D, H, W), classes or None."""

    name: str
    dates: list[datetime.date]
    images: np.ndarray
    clear: np.ndarray
    hidden: np.ndarray
    classes: np.ndarray | None


def read_series(folder: Path) -> Series:
    dates, images, classes = [], [], []
    for path in sorted(folder.glob("*.tif")):
        with rasterio.open(path) as src:
            dn, nodata = src.read(), src.nodata
            dates.append(_date(src.tags().get("date", path.stem)))
        has_classes = len(dn) == 5
        images.append(dn[:4].astype(np.float32) / 10_000)
        seen = (dn[:4] != nodata).all(axis=0)
        classes.append(np.where(seen, dn[4] if has_classes else 4, 0))
    scl = np.stack(classes)
    clear = np.isin(scl, CLEAR)
    return Series(
        folder.name,
        dates,
        np.stack(images),
        clear,
        np.isin(scl, HIDING),
        scl if has_classes else None,
    )


def _date(text: str) -> datetime.date:
    """Of 2018-08-04, 20230602_L30 or month_02."""
    if found := re.search(r"(\d{4})-?(\d\d)-?(\d\d)", text):
        year, month, day = map(int, found.groups())
        return datetime.date(year, month, day)
    return datetime.date(2000, int(re.findall(r"\d+", text)[-1]), 15)


def skies_of(series: Series, shape: tuple[int, int]) -> list[np.ndarray]:
    """Real clouds with their shadows, 25 to 85 % of the area, enlarged to a shape."""
    hidden = [mask for mask in series.hidden if 0.25 <= mask.mean() <= 0.85]
    repeat = max(-(-long // short) for long, short in zip(shape, hidden[0].shape, strict=True))
    large = (np.kron(mask, np.ones((repeat, repeat), bool)) for mask in hidden)
    return [mask[: shape[0], : shape[1]] for mask in large]


def cases(series: Series, skies: list[np.ndarray], count: int) -> Iterator[tuple[int, np.ndarray]]:
    rng = np.random.default_rng(0)
    least = 0.97 if series.classes is not None else 0.8
    for target, clear in enumerate(series.clear):
        if clear.mean() >= least:
            for sky in rng.choice(len(skies), min(count, len(skies)), replace=False):
                yield target, skies[sky] & clear


def usable_of(series: Series) -> np.ndarray:
    if series.classes is None:  # gaps are known to the pixel
        return series.clear
    return np.stack(
        [binary_erosion(one, iterations=MARGIN_PX, border_value=1) for one in series.clear]
    )


def references_of(
    series: Series, usable: np.ndarray, target: int, count: int, past: bool = False
) -> list[int]:
    others = [i for i in range(len(series.dates)) if i != target and not (past and i > target)]
    candidates = [Candidate(series.dates[i], float(usable[i].mean())) for i in others]
    return [others[i] for i in pick_references(series.dates[target], candidates, count)]


def nearest_of(series: Series, target: int) -> int:
    """The nearest date that is clear all over, or nearly."""
    shares = series.clear.mean(axis=(1, 2))
    best = min(0.97, np.delete(shares, target).max())
    days = [abs((date - series.dates[target]).days) for date in series.dates]
    return min(
        (i for i in range(len(days)) if i != target and shares[i] >= best), key=days.__getitem__
    )


def linear_per_band(image: np.ndarray, scene: np.ndarray, both: np.ndarray) -> np.ndarray:
    lines = [np.polyfit(a[both], b[both], 1) for a, b in zip(image, scene, strict=True)]
    return np.stack([np.polyval(line, band) for line, band in zip(lines, image, strict=True)])


def scores(made: np.ndarray, truth: np.ndarray, hole: np.ndarray) -> tuple[float, float]:
    """PSNR in dB of reflectance in [0, 1], and mean absolute error."""
    a, b = np.clip(made[:, hole], 0, 1), np.clip(truth[:, hole], 0, 1)
    return -10 * np.log10(np.mean((a - b) ** 2)), float(np.abs(made - truth)[:, hole].mean())


def run_series(series: Series, skies: list[np.ndarray], holes: int) -> tuple[dict, dict]:
    """Scores by method, and (expected, squared) errors of pixels with other dates and without."""
    usable = usable_of(series)
    found, errors = defaultdict(list), defaultdict(list)
    height, width = series.clear.shape[1:]
    extent = Window(0, 0, width, height)
    stride = plan_stride((height, width))
    for target, hole in cases(series, skies, holes):
        truth, nearest = series.images[target], nearest_of(series, target)
        clear = series.clear[target] & ~hole
        scene = np.where(hole, 0.7, truth).astype(np.float32)
        scored = hole & series.clear[nearest]
        if not scored.any() or not clear.any():
            continue
        copy, both = series.images[nearest], clear & series.clear[nearest]
        found["nearest date copied"].append(scores(copy, truth, scored))
        if both.sum() > 50:
            line = linear_per_band(copy, scene, both)
            found["linear per band, nearest date"].append(scores(line, truth, scored))
        for label, count, past in (
            ("no reference, from around", 0, False),
            ("1 date", 1, False),
            ("2 dates", 2, False),
            ("4 dates", 4, False),
            ("8 dates", 8, False),
            ("4 dates, past only", 4, True),
        ):
            chosen = references_of(series, usable, target, count, past)
            if count and not chosen:
                continue
            images, seen = series.images[chosen], usable[chosen]
            coefficients = solve(take_sample(scene, clear, images, seen, extent, stride), extent)
            prediction = coefficients.predict(images, seen, extent)
            filled = fill(scene, clear, prediction, coefficients.field, extent)
            if count == 4 and not past:
                found["4 dates, nothing carried inward"].append(
                    scores(prediction.ground, truth, scored)
                )
            found[label].append(scores(filled.ground, truth, scored))
            if label in ("4 dates", "no reference, from around"):
                squares = ((filled.ground - truth) ** 2).mean(axis=0)[hole]
                errors[label].append(np.stack([filled.error[hole], squares])[:, ::5])
    return found, errors


def detection_rows(series: Series) -> list[str]:
    """Clouds and shadows found without the classes, against the classes."""
    usable = usable_of(series)
    found = np.zeros(6)
    extent = Window(0, 0, *series.clear.shape[:0:-1])
    for target, classes in enumerate(series.classes):
        if usable[target].mean() < 0.2:
            continue
        scene, chosen = series.images[target], references_of(series, usable, target, 4)
        images, seen = series.images[chosen], usable[chosen]
        sample = take_sample(scene, usable[target], images, seen, extent, 1)
        prediction = solve(sample, extent).predict(images, seen, extent)
        known = prediction.date >= 0
        cloud = np.isin(classes, CLOUD)
        missed = find_missed_clouds(scene, prediction, BANDS)
        shadow = find_shadows(scene, prediction, cloud | missed, BANDS)
        is_shadow = (classes == 3) & known & (cloud.mean() > 0.05)
        far = usable[target] & known
        found += (
            (missed & cloud & known).sum(),
            (cloud & known).sum(),
            (shadow & is_shadow).sum(),
            is_shadow.sum(),
            ((missed | shadow) & far).sum(),
            far.sum(),
        )
    return [
        f"| {series.name} | {found[0] / found[1]:.2f} | {found[2] / max(found[3], 1):.2f} "
        f"| {100 * found[4] / found[5]:.2f} % |"
    ]


def cost_rows() -> list[str]:
    """CPU seconds per megapixel on one core, four bands, four dates that lack patches."""
    rng = np.random.default_rng(0)
    side = 1024
    extent = Window(0, 0, side, side)

    def patches(hidden: float) -> np.ndarray:
        return np.kron(rng.random((4, 4)) > hidden, np.ones((256, 256), bool))

    images = rng.random((4, 4, side, side), np.float32) * np.float32(0.3)
    seen, clear = np.stack([patches(0.2) for _ in range(4)]), patches(0.4)
    scene = images.mean(axis=0)
    times = defaultdict(list)
    for _ in range(3):
        marks = [time.process_time()]
        sample = take_sample(scene, clear, images, seen, extent, 11)
        marks.append(time.process_time())
        coefficients = solve(sample, extent)
        marks.append(time.process_time())
        prediction = coefficients.predict(images, seen, extent)
        marks.append(time.process_time())
        fill(scene, clear, prediction, coefficients.field, extent)
        marks.append(time.process_time())
        missed = find_missed_clouds(scene, prediction, BANDS)
        marks.append(time.process_time())
        find_shadows(scene, prediction, ~clear | missed, BANDS)
        marks.append(time.process_time())
        names = ("sample", "solve", "predict", "fill", "missed clouds", "shadows")
        for name, spent in zip(names, np.diff(marks), strict=True):
            times[name].append(spent)
    return [f"| {name} | {min(spent):.3f} |" for name, spent in times.items()]


def reliability_rows(name: str, errors: dict) -> list[str]:
    rows = []
    for label, parts in errors.items():
        expected, squares = np.concatenate(parts, axis=1)
        edges = np.quantile(expected, [0.2, 0.4, 0.6, 0.8])
        group = np.searchsorted(edges, expected)
        cells = [
            f"{np.sqrt((expected[group == g] ** 2).mean()):.4f} / {np.sqrt(squares[group == g].mean()):.4f}"
            for g in range(5)
            if (group == g).any()
        ]
        rows.append(f"| {name}, {label} | " + " | ".join(cells) + " |")
    return rows


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--series", "folders", multiple=True, type=click.Path(exists=True, path_type=Path))
@click.option("--holes", default=3, show_default=True, help="Skies over each clear date.")
def main(data: Path, folders: tuple[Path, ...], holes: int) -> None:
    """Print the tables."""
    names = ("romania", "belgium_a", "missouri_hls", "california")
    paths = list(folders) or [data / "series" / name for name in names]
    clouds = read_series(data / "series" / "romania")
    many = [read_series(path) for path in paths]
    results = {}
    for series in many:
        own = series if series.classes is not None else clouds
        results[series.name] = run_series(series, skies_of(own, series.clear.shape[1:]), holes)
    labels = list(dict.fromkeys(label for found, _ in results.values() for label in found))
    counts = [
        f"{name} ({len(found['nearest date copied'])})" for name, (found, _) in results.items()
    ]
    print("PSNR in dB / MAE in reflectance inside the holes; number of holes in brackets.\n")
    print("| method | " + " | ".join(counts) + " |\n|---" * 1 + "|---" * (len(counts)) + "|")
    for label in labels:
        cells = []
        for found, _ in results.values():
            some = found.get(label)
            cells.append("{:.1f} / {:.4f}".format(*np.mean(some, axis=0)) if some else "")
        print(f"| {label} | " + " | ".join(cells) + " |")
    print("\nExpected / found root mean square error, by fifths of the expected one.\n")
    print("| | 1 | 2 | 3 | 4 | 5 |\n|---|---|---|---|---|---|")
    for name, (_, errors) in results.items():
        print("\n".join(reliability_rows(name, errors)))
    print(
        "\nFound of the classes' cloud and shadow (sun not given); wrongly found on clear ground.\n"
    )
    print("| series | cloud | shadow | clear ground |\n|---|---|---|---|")
    for series in many:
        if series.classes is not None:
            print("\n".join(detection_rows(series)))
    print("\nCPU seconds per megapixel on one core, 4 bands, 4 dates.\n\n| part | s |\n|---|---|")
    print("\n".join(cost_rows()))


if __name__ == "__main__":
    main()
