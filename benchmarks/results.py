"""Write docs/results.md and its pictures: every figure about the shipped model comes from here.

::

    python benchmarks/results.py DATA     # or: make results, with GEODECLOUD_TEST_DATA set

DATA holds sen12mscr/ (see docs/training.md for the layout). The demo's picture is made too.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
import rasterio
import rasterio.shutil

from geodecloud import __version__
from geodecloud.bands import SENTINEL2_NM
from geodecloud.models.catalogue import get_card
from geodecloud.report import PROVENANCE_RGB
from geodecloud.training.chips import Pair, read_pairs
from geodecloud.training.evaluate import decloud_pair, evaluate_folder, format_table
from geodecloud.training.train import Config

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
MODEL = "s2-10m"

PAGE = """# Results

Made by `make results` with geodecloud {version}, model `{model}` (sha256 `{sha}…`), on {machine}.
Nothing on this page is typed by hand.

## Real pairs: SEN12MS-CR

{count} pairs of Sentinel-2 level 1C, 256 x 256 px, a cloudy and a clear date of the same place, from
the data set of Ebel et al. 2020. Default options, bands B02, B03, B04, B08. PSNR is
`10 log10(1 / MSE)` over the four bands together, reflectance clipped to [0, 1], output rounded to
16 bits, mask and composite included. The dates differ, so no method can reach the truth: the last
column is the root mean square difference between the two dates over the pixels that were left as
observed.

**None of these clear images was trained on.** {selecting} of the pairs chose the best step and the
mask's threshold, {textures} lent cloud texture (not ground) to the simulator; the rest only measure:

| pairs | before dB | after dB | gain dB | pairs losing more than 0.3 dB |
|---|---|---|---|---|
{groups}

Worst first:

{table}

## Look

Each row: cloudy date, result, clear date, provenance (grey observed, blue restored, orange
synthesised). The three worst, three around the median, the three best by gain.

![Worst, median and best pairs](images/pairs.jpg)
"""


def group_row(name: str, rows: list[dict]) -> str:
    before, after = (np.mean([row[k] for row in rows]) for k in ("before_db", "after_db"))
    losing = sum(row["after_db"] < row["before_db"] - 0.3 for row in rows)
    return (
        f"| {name} ({len(rows)}) | {before:.2f} | {after:.2f} | {after - before:+.2f} | {losing} |"
    )


def picture_row(pair: Pair) -> np.ndarray:
    """Four panels of one pair, (3, 256, 4 * 256 + gaps) uint8, one stretch for all."""
    result = decloud_pair(pair, MODEL)
    top = float(np.percentile(pair.clear[:3], 99.5))
    images = [pair.cloudy, result.image.values * 1e-4, pair.clear]
    panels = [
        (255 * np.clip(image[[2, 1, 0]] / top, 0, 1) ** 0.8).astype(np.uint8) for image in images
    ]
    panels.append(PROVENANCE_RGB[result.provenance.values].transpose(2, 0, 1))
    gap = np.full((3, panels[0].shape[1], 6), 255, np.uint8)
    return np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=2)


def write_jpeg(image: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "JPEG", "quality": 88, "dtype": "uint8", "count": 3}
    with rasterio.open(path, "w", height=image.shape[1], width=image.shape[2], **profile) as dst:
        dst.write(image)
    path.with_name(path.name + ".aux.xml").unlink(missing_ok=True)


def demo_picture() -> None:
    """The picture of the README: what `make demo` writes, as JPEG."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, ROOT / "examples/demo.py", folder]
        subprocess.run(command, check=True, capture_output=True)
        with rasterio.open(Path(folder) / "before_after.png") as src:
            write_jpeg(src.read(), DOCS / "images/before_after.jpg")


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
def main(data: Path) -> None:
    """Evaluate, draw, and write the page."""
    config = Config.read(ROOT / "examples/train_s2_10m.toml")
    folder, bands = data / "sen12mscr", list(SENTINEL2_NM)
    rows = evaluate_folder(folder, [MODEL], bands)
    used = {*config.select_pairs, *config.texture_pairs}
    groups = {
        "only measured": [row for row in rows if row["pair"] not in used],
        "chose step and threshold": [row for row in rows if row["pair"] in config.select_pairs],
        "lent cloud texture": [row for row in rows if row["pair"] in config.texture_pairs],
        "all": rows,
    }
    ordered = sorted(rows, key=lambda row: row["after_db"] - row["before_db"])
    middle = len(ordered) // 2
    chosen = [*ordered[:3], *ordered[middle - 1 : middle + 2], *ordered[-3:]]
    pairs = {pair.name: pair for pair in read_pairs(folder, get_card(MODEL).channel_names, bands)}
    pictures = [picture_row(pairs[row["pair"]]) for row in chosen]
    gap = np.full((3, 6, pictures[0].shape[2]), 255, np.uint8)
    sheet = [part for picture in pictures for part in (picture, gap)][:-1]
    write_jpeg(np.concatenate(sheet, axis=1), DOCS / "images/pairs.jpg")
    demo_picture()

    page = PAGE.format(
        version=__version__,
        model=MODEL,
        sha=get_card(MODEL).sha256[:12],
        machine=f"{platform.machine()}, Python {platform.python_version()}",
        count=len(rows),
        selecting=len(config.select_pairs),
        textures=len(config.texture_pairs),
        groups="\n".join(group_row(name, part) for name, part in groups.items()),
        table=format_table(rows),
    )
    (DOCS / "results.md").write_text(page, encoding="utf-8")
    print(f"wrote {DOCS / 'results.md'}")


if __name__ == "__main__":
    main()
