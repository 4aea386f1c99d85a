"""Write docs/results.md and its pictures: every figure about the shipped models comes from here.

::

    python benchmarks/results.py DATA     # or: make results, with GEODECLOUD_TEST_DATA set

DATA holds sen12mscr/ and rice/ (see docs/training.md for the layouts). The demo's picture and the
simulator's contact sheet are made too.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import pandas as pd
import rasterio

from geodecloud import __version__
from geodecloud.models.catalogue import get_card, shipped_cards
from geodecloud.report.pictures import write_picture
from geodecloud.scene.bands import SENTINEL2_NM
from geodecloud.training.clouds import SKIES, simulate_clouds
from geodecloud.training.config import Config
from geodecloud.training.evaluate import Score, evaluate_folder, pairs_for
from geodecloud.training.panels import below, beside, choose_cases, draw_images, draw_panel
from geodecloud.training.simulate import simulate_file
from geodecloud.training.tables import (
    GREAT_LOSS_DB,
    LOSS_DB,
    format_table,
    pair_table,
    summarise,
    summarise_classes,
)

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

INTRO = """# Results

Made by `make results` with geodecloud {version} on {machine}. Nothing on this page is typed by hand, but for what the chapters say of\ntheir data and for the reasons under *Do no harm*.

| model | bands | size | sha256 |
|---|---|---|---|
{models}

Every score goes through the path any scene takes: default options, mask, composite and rounding to
the file's DN included. *Do nothing* is the cloudy image itself; *dark-object subtraction* (Chavez
1988) takes the darkest percentile of each band, less 1 %, off the whole image. PSNR is
`10 log10(1 / MSE)` over all bands together, SSIM the mean over bands, SAM the mean angle between
spectra, reflectance clipped to [0, 1]; each is the mean over the pairs. *Published* is the
definition of the SpA GAN code: nothing clipped, SSIM of one luminance with a data range of 2, which
flatters it. **The dates of a real pair differ**, so no method can reach the truth.
"""


@dataclass(frozen=True)
class Chapter:
    """One data set: its title, what is to be known about it, and the models scored on it."""

    key: str
    title: str
    about: str
    models: tuple[str, ...]


CHAPTERS = (
    Chapter(
        "sen12mscr",
        "Real Sentinel-2 pairs: SEN12MS-CR",
        "22 pairs of level 1C, 256 x 256 px, from Ebel et al. 2020. **No clear date was trained on.** "
        "Ten pairs chose the mask's threshold, three cloudy dates lent cloud "
        "texture to the simulator; the nine others only measure.",
        ("s2-all", "s2-10m"),
    ),
    Chapter(
        "sen12mscr2",
        "More real pairs, for evaluation only",
        "18 pairs of the same kind from other places. **Nothing of them was trained on, and nothing chosen on them.** "
        "Some show a clear sky on both dates (do no harm), some snow, where the cloudy date is the darker one.",
        ("s2-all", "s2-10m"),
    ),
    Chapter(
        "rice/RICE1",
        "Pictures under a veil: RICE1",
        "44 pairs of Google Earth pictures, 8 bits, from Lin et al. 2019. **Nothing of RICE was "
        "trained on**, and no step or mask threshold was chosen on it; what simulated pictures look like was.",
        ("rgb",),
    ),
    Chapter(
        "rice/RICE2",
        "Pictures under broken and opaque cloud: RICE2",
        "60 pairs of Landsat-8 pictures, 8 bits, true and false colour, up to 15 days apart. "
        "**Nothing of RICE was trained on**, and no step or mask threshold was chosen on it; what "
        "simulated pictures look like was.",
        ("rgb",),
    ),
    Chapter(
        "simulated",
        "Simulated clouds over ground not trained on",
        "The 22 clear dates of SEN12MS-CR under skies of `geodecloud simulate` (seed 7). Here the true "
        "opacity is known: clear is below 0.05, thin up to 0.6, opaque above; shadow lies where no "
        "cloud is. Map IoU compares cloud map and true opacity or shadow, both above 0.1.",
        ("s2-all", "s2-10m", "rgb"),
    ),
)

#: When the command line takes a model.
TAKEN = {
    "s2-all": "by default",
    "s2-10m": "by default for scenes of these four bands",
    "rgb": "where it is asked for",
}
_PALE = "pale, even ground in false colour, taken for a veil"
#: Why a pair loses: seen on its pictures.
REASONS: dict[str, str] = {
    "ROIs2017_winter_102_p926": "bare winter fields under a band of cirrus; the model takes clear fields beside "
    "it for cloud, too, and smooths them",
    **dict.fromkeys(("521", "526"), _PALE),
    **dict.fromkeys(
        ("ROIs1158_spring_26_p100", "ROIs1158_spring_26_p840"),
        "the clear date lies under snow, brighter than the cloudy one: what goes as cloud goes away from it",
    ),
    "idx4294_clear": "a clear sky; pale and blue roofs of factories taken for cloud",
    "idx6317_clear": "a clear sky; greenhouses and pale fields taken for thin cloud",
    "idx6780_clear": "a clear sky; slopes in the shade taken for shadows of clouds",
    "486": "an uneven veil lifted as an even one: fog in the valleys stays, slopes come out too dark",
    "503": "clouds and shadows over a pale plain: what lies under the opaque cores comes out green, as "
    "ground does elsewhere",
    "363": "small bright patches of a desert taken for cloud",
}


def chapter_page(chapter: Chapter, scores: list[Score]) -> str:
    """Summary, classes, pictures and every pair of one data set."""
    parts = [f"## {chapter.title}", chapter.about, format_table(summarise(scores))]
    if chapter.key == "sen12mscr":
        parts += ["By what the pairs were used for:", format_table(split_rows(scores, chapter))]
    how = (
        "PSNR over the pixels of each class, all pairs together:"
        if chapter.key == "simulated"
        else "PSNR over the pixels of each class, all pairs together. The classes of real pairs are "
        "told from the two dates: thin where the cloudy one is brighter by 0.02 to 0.2 in the mean "
        "over bands, opaque beyond, shadow where it is darker by 0.02; a change of the ground counts "
        "as cloud, too."
    )
    parts += [how, format_table(summarise_classes(scores))]
    if chapter.key != "simulated":
        for model in chapter.models:
            name = f"{Path(chapter.key).name.lower()}_{model}.jpg"
            rows = ", ".join(
                f"{score.pair} ({score.gain_db:+.1f} dB)" for score in shown_cases(scores, model)
            )
            parts.append(
                f"From the top, two worst, two around the median, two best of `{model}` by gain: {rows}. In each row "
                "cloudy, result, clear, provenance (grey observed, blue restored, orange synthesised), with "
                f"one stretch:\n\n![{model} on {chapter.title}](images/{name})"
            )
        own = [score for score in scores if score.method in chapter.models]
        table = format_table(pair_table(own))
        parts.append(f"<details><summary>Each pair, worst first</summary>\n\n{table}\n\n</details>")
    return "\n\n".join(parts)


def shown_cases(scores: list[Score], model: str) -> list[Score]:
    """The scores whose pictures are shown, from the top."""
    own = [score for score in scores if score.method == model]
    return [score for part in choose_cases(own, 2).values() for score in part]


def split_rows(scores: list[Score], chapter: Chapter) -> pd.DataFrame:
    """Means by what the training config used a pair for."""
    rows = []
    for model in chapter.models:
        config = Config.read(ROOT / f"examples/train_{model.replace('-', '_')}.toml")
        own = [score for score in scores if score.method == model]
        used = {*config.select_pairs, *config.texture_pairs}
        groups = {
            "only measured": [score for score in own if score.pair not in used],
            "chose the threshold" + " and the step" * (not config.keep_last): [
                s for s in own if s.pair in config.select_pairs
            ],
            "lent cloud texture": [s for s in own if s.pair in config.texture_pairs],
        }
        for name, part in groups.items():
            if not part:
                continue
            rows.append(summarise(part).assign(method=f"{model}, {name}"))
    return pd.concat(rows)


def harm_page(found: dict[str, list[Score]]) -> str:
    """Which pairs lose, by the default command line and where a model is asked for, and why."""
    lines = ["## Do no harm"]
    for chapter in CHAPTERS:
        for model in chapter.models:
            own = [s for s in found.get(chapter.key, ()) if s.method == model]
            if own:
                lines += harm_lines(chapter, model, own)
    return "\n\n".join(lines)


def harm_lines(chapter: Chapter, model: str, own: list[Score]) -> list[str]:
    """What one model loses on one data set."""
    lost = sorted((s for s in own if s.gain_db < -LOSS_DB), key=lambda score: score.gain_db)
    much = sum(score.gain_db < -GREAT_LOSS_DB for score in lost)
    said = (
        f"`{model}` ({TAKEN[model]}) on {Path(chapter.key).name}: {len(lost)} of {len(own)} pairs lose more "
        f"than {LOSS_DB} dB, {much} of them more than {GREAT_LOSS_DB:.0f} dB."
    )
    if not lost:
        return [said]
    head = [
        "| pair | PSNR before, dB | gain dB | changed % | date difference | why |",
        "|---|---|---|---|---|---|",
    ]
    return [said, "\n".join([*head, *(harm_row(score) for score in lost)])]


def harm_row(score: Score) -> str:
    floor = "-" if score.observed_rmse is None else f"{score.observed_rmse:.4f}"
    why = REASONS.get(score.pair, "not looked into")
    before = score.values["psnr"] - score.gain_db
    figures = f"{before:.1f} | {score.gain_db:.2f} | {100 * score.changed:.0f} | {floor}"
    return f"| {score.pair} | {figures} | {why} |"


def write_chapter_pictures(chapter: Chapter, folder: Path, scores: list[Score]) -> None:
    for model in chapter.models:
        pairs = {pair.name: pair for pair in pairs_for(folder, model)}
        rows = [draw_panel(pairs[score.pair], model) for score in shown_cases(scores, model)]
        name = f"{Path(chapter.key).name.lower()}_{model}.jpg"
        write_picture(below(rows), DOCS / "images" / name)


def contact_sheet(folder: Path) -> None:
    """Every kind of sky over four grounds: the simulator, to be looked at."""
    names = ("ROIs1868_summer_100_p840", "idx5254", "ROIs1158_spring_39_p100", "idx6317")
    clear = {pair.name: pair for pair in pairs_for(folder, "s2-10m")}
    rows = []
    for number, name in enumerate(names):
        pair = clear[name]
        tiles = [pair.clear]
        for sky in SKIES:
            rng = np.random.default_rng([number, list(SKIES).index(sky)])
            nm = [SENTINEL2_NM[band] for band in pair.bands]
            tiles.append(simulate_clouds(pair.clear, nm, rng, skies={sky: 1.0}).cloudy)
        bright = np.full_like(pair.clear, 0.6)  # one stretch that shows texture in cloud
        *shown, _ = draw_images([*tiles, bright], pair.bands, is_picture=False)
        rows.append(beside([tile[:, ::2, ::2] for tile in shown]))
    write_picture(below(rows), DOCS / "images/simulator.jpg")


def real_picture(folder: Path) -> None:
    """The other picture of the README: pairs that are partly cloudy; all pairs stand in the page."""
    names = ("idx5349", "idx4287", "ROIs1868_summer_100_p840")
    pairs = {pair.name: pair for pair in pairs_for(folder, "s2-10m")}
    rows = [draw_panel(pairs[name], "s2-10m") for name in names]
    write_picture(below(rows), DOCS / "images/real.jpg")


def demo_picture() -> None:
    """The picture of the README: what `make demo` writes, as JPEG."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, ROOT / "examples/demo.py", folder]
        subprocess.run(command, check=True, capture_output=True)
        with rasterio.open(Path(folder) / "before_after.png") as src:
            write_picture(src.read(), DOCS / "images/before_after.jpg")


def model_row(name: str) -> str:
    card = get_card(name)
    size = (ROOT / f"geodecloud/models/shipped/{name}.safetensors").stat().st_size / 2**20
    return f"| `{name}` | {' '.join(card.channel_names)} | {size:.2f} MiB | `{card.sha256[:12]}…` |"


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
def main(data: Path) -> None:
    """Evaluate, draw, and write the page."""
    (DOCS / "images").mkdir(exist_ok=True)
    shipped = [name for name in ("s2-all", "s2-10m", "rgb") if name in shipped_cards()]
    chapters = [
        replace(chapter, models=own)
        for chapter in CHAPTERS
        if (own := tuple(name for name in chapter.models if name in shipped))
    ]
    found: dict[str, list[Score]] = {}
    with tempfile.TemporaryDirectory() as simulated:
        for path in sorted((data / "sen12mscr").glob("*_clear.tif")):
            simulate_file(path, Path(simulated), seed=7)
        for chapter in chapters:
            folder = Path(simulated) if chapter.key == "simulated" else data / chapter.key
            found[chapter.key] = evaluate_folder(folder, chapter.models)
            if chapter.key != "simulated":
                write_chapter_pictures(chapter, folder, found[chapter.key])
            print(f"{chapter.title}: {len(found[chapter.key])} scores", file=sys.stderr)
    contact_sheet(data / "sen12mscr")
    real_picture(data / "sen12mscr")
    demo_picture()
    page = [
        INTRO.format(
            version=__version__,
            machine=f"{platform.machine()}, Python {platform.python_version()}",
            models="\n".join(model_row(name) for name in shipped),
        ).rstrip(),
        *(chapter_page(chapter, found[chapter.key]) for chapter in chapters),
        harm_page(found),
    ]
    (DOCS / "results.md").write_text("\n\n".join(page) + "\n", encoding="utf-8")
    print(f"wrote {DOCS / 'results.md'}")


if __name__ == "__main__":
    main()
