"""The command line: parse, make one call, turn the outcome into an exit code.

Results go to stdout, progress and remarks to stderr. Exit codes: 0 done, 1 failed, 2 usage,
130 interrupted. Heavy modules are imported inside the commands, so that ``--help`` is quick.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from geodecloud._version import __version__
from geodecloud.cli.flags import in_flags, shown
from geodecloud.cli.options import batch_options, scene_options, verbosity, with_format
from geodecloud.cli.report import report
from geodecloud.cli.terminal import remarks
from geodecloud.cli.training import evaluate, simulate, train
from geodecloud.cli.verify import verify
from geodecloud.errors import GeodecloudError, OptionError, WindowPlanError

log = logging.getLogger("geodecloud")


class DefaultCommand(click.Group):
    """A group whose first argument may be a scene: ``geodecloud X`` is ``geodecloud run X``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``run`` in front unless a command or one of the group's own flags comes first."""
        own = {flag for param in self.params for flag in (*param.opts, *param.secondary_opts)}
        if args and args[0] not in self.commands and args[0] not in own | {"--help", "-h"}:
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run, with one message instead of a traceback for what a user can cure."""
        try:
            os.getcwd()
        except OSError:
            click.echo("Error: the working folder is gone; cd to one that exists", err=True)
            sys.exit(1)
        # what schedulers of clusters send: clean up as for Ctrl-C
        with contextlib.suppress(ValueError):  # only the main thread may listen
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            return super().main(*args, **kwargs)
        except GeodecloudError as error:
            click.echo(f"Error: {in_flags(str(error))}", err=True)
            sys.exit(2 if isinstance(error, OptionError | WindowPlanError) else 1)
        except MemoryError as error:
            click.echo(f"Error: {in_flags(str(error)) or 'not enough memory'}", err=True)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        """Let Ctrl-C reach `main` under its own name: click would exit with 1."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except (KeyboardInterrupt, click.Abort):
            click.echo("Interrupted.", err=True)
            ctx.exit(130)
        except OSError as error:
            if error.errno != errno.ENOSPC or isinstance(error, GeodecloudError):
                raise
            click.echo(f"Error: the answer cannot be written to stdout: {error.strerror}", err=True)
            os.dup2(
                os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
            )  # nothing is flushed at exit
            ctx.exit(1)


@click.group(cls=DefaultCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="geodecloud")
def main() -> None:
    """Remove clouds from satellite scenes, and touch nothing else.

    \b
    geodecloud SCENE --out OUT     is short for: geodecloud run SCENE --out OUT
    geodecloud batch FOLDER --out-dir DIR     all scenes and products in a folder; goes on if stopped
    geodecloud info SCENE          what is known about a scene, and which model fits
    geodecloud verify OUT --source SCENE     whether a result keeps what is promised of it
    geodecloud models list         the models there are
    """  # noqa: D301  # click wants the very character


@main.command()
@click.argument("scene")
@click.option("-o", "--out", required=True, help="File to write, or s3://bucket/key.tif.")
@click.option(
    "--provenance",
    help="Write where each pixel comes from (uint8).",
)
@click.option("--cloud-map", help="Write the opacity, 0-1 (float32).")
@click.option(
    "--source-date",
    help="Write the date a filled pixel comes from, days since 1970-01-01 (uint16).",
)
@click.option("--confidence", help="Write the expected error of replaced pixels (float32).")
@click.option("--quicklook", metavar="PNG", help="Write a picture of before and after.")
@scene_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@verbosity
def run(
    scene: str,
    out: str,
    creation_options: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    verbose: int,
    **options: Any,
) -> None:
    """Remove the clouds of one scene and write the scene again."""
    from geodecloud.decloud_file import decloud_scene

    with remarks(quiet, verbose):
        done = decloud_scene(
            scene,
            out,
            progress=sys.stderr.isatty() and not quiet,
            **with_format(options, creation_options),
        )
        if as_json:
            click.echo(json.dumps(dataclasses.asdict(done)))
            return
        log.info("%s", summary(done))
        if done.self_check is not None:
            log.info("%s", done.self_check)
        click.echo(done.out)


@main.command()
@click.argument("folders", nargs=-1, required=True)
@click.option(
    "--out-dir",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of the results; a second run goes on there.",
)
@click.option("--pattern", default="*", show_default=True, help="Names of scenes, such as 'S2A_*'.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--provenance", is_flag=True, help="Write NAME_provenance.tif too.")
@click.option("--cloud-map", is_flag=True, help="Write NAME_cloud_map.tif too.")
@click.option("--source-date", is_flag=True, help="Write NAME_source_date.tif too.")
@click.option("--confidence", is_flag=True, help="Write NAME_confidence.tif too.")
@click.option(
    "--references",
    metavar="auto|none|N",
    help="Other dates that holes are filled from: up to 4, N or none of those in the folders.  [default: auto]",
)
@batch_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@verbosity
def batch(
    folders: tuple[str, ...],
    out_dir: Path,
    creation_options: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    verbose: int,
    **options: Any,
) -> None:
    """Remove the clouds of all scenes and Sentinel-2 products in folders.

    Stopped or killed, it goes on where it was: give the same command again.
    """
    from geodecloud.batch.folder import decloud_folder
    from geodecloud.batch.summary import format_table

    def log_outcome(outcome: Any) -> None:
        log.info("%s: %s %s", outcome.scene, outcome.state, outcome.reason)

    with remarks(quiet, verbose):
        done = decloud_folder(
            folders,
            out_dir,
            on_outcome=log_outcome,
            **with_format(options, creation_options),
        )
    click.echo(json.dumps(dataclasses.asdict(done)) if as_json else in_flags(format_table(done)))
    if done.failed:
        sys.exit(1)


def summary(done: Any) -> str:
    """One line: how much of the scene is observed, restored, invented, left."""
    from geodecloud.restore.composite import Provenance

    valid = sum(done.pixels.values()) - done.pixels["nodata"]
    shares = {code: 100 * done.pixels[code.name.lower()] / max(valid, 1) for code in Provenance}
    other = shares[Provenance.OTHER_DATE]
    return (
        f"{shares[Provenance.OBSERVED]:.1f} % observed and untouched, "
        f"{shares[Provenance.RESTORED]:.1f} % restored, "
        + (f"{other:.1f} % from other dates, " if other else "")
        + f"{shares[Provenance.SYNTHESISED]:.1f} % synthesised (ground was not visible), "
        f"{shares[Provenance.LEFT]:.1f} % cloud left as it was"
    )


@main.command()
@click.argument("scene")
@scene_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info(scene: str, creation_options: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Print what is known about a scene, and every decision `run` would take with these options."""
    from geodecloud.report.describe import describe_scene

    with remarks(quiet=True, verbose=0):
        facts = describe_scene(scene, **with_format(options, creation_options))
    if as_json:
        click.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        lines = value if isinstance(value, list) else [value]
        click.echo(
            f"{name + ':':<15} " + ("\n" + " " * 16).join(shown(str(line)) for line in lines)
        )


@main.group()
def models() -> None:
    """List, show and import models."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def models_list(as_json: bool) -> None:
    """Models that can be named, and the bands they restore."""
    from geodecloud.models.catalogue import shipped_cards

    cards = shipped_cards()
    if as_json:
        click.echo(json.dumps({name: list(card.channel_names) for name, card in cards.items()}))
        return
    for name, card in cards.items():
        click.echo(f"{name:<10} {' '.join(card.channel_names) or 'any bands':<20} {card.summary}")


@models.command("show")
@click.argument("model")
def models_show(model: str) -> None:
    """The card of a model, by name or file, as JSON."""
    from geodecloud.models.catalogue import get_card

    click.echo(json.dumps(json.loads(get_card(model).to_json()), indent=2))


@models.command("import")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help=".safetensors to write."
)
@click.option("--name", help="Name on the card.  [default: the file's]")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
def models_import(checkpoint: Path, out: Path, name: str | None, overwrite: bool) -> None:
    """Turn a published SpA GAN checkpoint (.pth) into a weights file with its card."""
    from geodecloud.models.weights import import_published
    from geodecloud.raster.writer import check_target

    check_target(out, overwrite)
    card = import_published(checkpoint, out, name or out.stem)
    click.echo(f"{out}  {card.name}, sha256 {card.sha256[:12]}…")


@main.command()
@click.option("--model", default="s2-10m", show_default=True, help="Shipped name or file.")
@click.option("--size", default=2048, show_default=True, type=click.IntRange(64), help="Scene, px.")
@click.option("--inference/--no-inference", default=True, help="Time each backend and precision.")
@click.option("--scene/--no-scene", default=True, help="Time a run from file to file.")
@click.option("--precision", multiple=True, help="Only this; may be given more than once.")
@click.option("--backend", multiple=True, help="Only this; may be given more than once.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def bench(
    model: str,
    size: int,
    inference: bool,
    scene: bool,
    precision: tuple[str, ...],
    backend: tuple[str, ...],
    as_json: bool,
) -> None:
    """Time this machine: every backend and precision, and a scene from file to file."""
    from geodecloud.bench.measure import run

    with remarks(quiet=False, verbose=0):
        tables = run(model, size, inference, scene, precision, backend, as_json)
    click.echo(tables)


for command in (train, evaluate, simulate, verify, report):
    main.add_command(command)
