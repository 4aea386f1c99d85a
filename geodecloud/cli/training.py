"""The commands about models: train, evaluate, simulate. Heavy modules are imported inside."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from geodecloud.cli.options import verbosity
from geodecloud.cli.terminal import remarks

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("config", type=_PATH)
@click.option("--clear", type=_PATH, help="Folder of clear imagery, put under simulated clouds.")
@click.option("--train-pairs", type=_PATH, help="Folder of pairs to train on instead.")
@click.option("--pairs", type=_PATH, help="Folder of real pairs that choose the best step.")
@click.option("--out", required=True, type=_PATH, help="Folder of the run; resumes there.")
@click.option("--accelerator", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--devices", default=1, show_default=True, type=click.IntRange(1), help="How many.")
@verbosity
def train(
    config: Path,
    clear: Path | None,
    train_pairs: Path | None,
    pairs: Path | None,
    out: Path,
    accelerator: str,
    devices: int,
    quiet: bool,
    verbose: int,
) -> None:
    """Train a model as CONFIG (TOML) says, on clear imagery under simulated clouds or on pairs."""
    from geodecloud.errors import OptionError

    try:
        from geodecloud.training.config import Config
        from geodecloud.training.sources import read_sources
        from geodecloud.training.train import train as train_model
    except ModuleNotFoundError as error:
        raise OptionError(
            f"training needs {error.name}, which is not installed; get it with: "
            "pip install 'geodecloud[train]'"
        ) from error
    with remarks(quiet, verbose):
        options = Config.read(config)
        sources = read_sources(options, clear, train_pairs, pairs)
        card = train_model(options, sources, out, accelerator, devices)
    if card:  # there is one process per device, and one result
        click.echo(out / f"{card.name}.safetensors")


@click.command()
@click.option(
    "--data",
    required=True,
    type=_PATH,
    help="Folder of NAME_cloudy.tif and NAME_clear.tif, or of cloud/ and label/.",
)
@click.option("--model", "models", multiple=True, default=["s2-10m"], show_default=True)
@click.option("--file-bands", help="Names of the files' bands, where the files do not say.")
@click.option("--csv", type=_PATH, help="Write one line per pair and method.")
@click.option("--markdown", type=_PATH, help="Write what is printed.")
@click.option("--panels", type=_PATH, help="Folder for pictures of the worst, median, best pair.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate(
    data: Path,
    models: tuple[str, ...],
    file_bands: str | None,
    csv: Path | None,
    markdown: Path | None,
    panels: Path | None,
    as_json: bool,
) -> None:
    """Score models on pairs, through the same path as any scene, beside the baselines."""
    from geodecloud.raster.targets import check_file, make_folder
    from geodecloud.raster.whole_files import write_text
    from geodecloud.scene.bands import parse_band_list
    from geodecloud.training.evaluate import evaluate_folder, pairs_for
    from geodecloud.training.panels import write_panels
    from geodecloud.training.tables import format_report, write_csv

    for file in (csv, markdown):
        if file is not None:
            check_file(file)
    if panels is not None:
        make_folder(panels)
    names = parse_band_list(file_bands) if file_bands else []
    with remarks(quiet=True, verbose=0):
        scores = evaluate_folder(data, models, names)
        for model in models if panels else ():
            write_panels(scores, pairs_for(data, model, names), model, Path(str(panels)))
    if csv:
        write_csv(scores, csv)
    report = format_report(scores)
    if markdown:
        write_text(markdown, report + "\n")
    rows = [dataclasses.asdict(score) for score in scores]
    click.echo(json.dumps(rows) if as_json else report)


@click.command()
@click.argument("clear", nargs=-1, required=True, type=_PATH)
@click.option("--out", required=True, type=_PATH, help="Folder of the pairs.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same sky.")
@click.option("--sky", help="clear, veil, cirrus, cumulus or deck.  [default: drawn]")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@verbosity
def simulate(
    clear: tuple[Path, ...],
    out: Path,
    seed: int,
    sky: str | None,
    overwrite: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Put clouds over CLEAR scenes: NAME_cloudy, _clear, _opacity and _shadow.tif in a folder."""
    from geodecloud.training.simulate import simulate_file

    with remarks(quiet, verbose):
        for path in clear:
            for written in simulate_file(path, out, seed, sky, overwrite):
                click.echo(written)
