"""The command that checks results. What it needs is imported inside."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from geodecloud.cli.flags import in_flags
from geodecloud.cli.options import verbosity
from geodecloud.cli.terminal import remarks
from geodecloud.errors import OptionError

if TYPE_CHECKING:
    from geodecloud.batch.verify import FolderVerification
    from geodecloud.report.findings import Verification


@click.command()
@click.argument("out")
@click.option(
    "--source",
    "sources",
    multiple=True,
    required=True,
    metavar="PATH",
    help="The scene OUT was made of; of a batch the folder of its scenes, may be given more than once.",
)
@click.option(
    "--provenance",
    help="Its provenance raster.  [default: NAME_provenance.tif beside NAME_decloud.tif]",
)
@click.option(
    "--windows",
    default=3,
    show_default=True,
    type=click.IntRange(0),
    help="Windows that are made again, on others.",
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0), help="Of where they lie."
)
@click.option(
    "--tolerance",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0),
    metavar="DN",
    help="Largest difference that they may have.",
)
@click.option("--sample", type=click.IntRange(1), help="Of a batch, so many of its results.")
@click.option("--workers", type=click.IntRange(1), help="Threads.  [default: one per core]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@verbosity
def verify(
    out: str,
    sources: tuple[str, ...],
    provenance: str | None,
    windows: int,
    seed: int,
    tolerance: float,
    sample: int | None,
    workers: int | None,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Check that OUT is its source with the clouds removed, and that nothing else has changed.

    OUT is a result: a raster, a folder with one file per band, or the folder of a batch. What was found
    stands on one line each, failures last; the exit code is 1 if there are any.
    """
    from geodecloud.batch.verify import is_batch, verify_folder
    from geodecloud.report.verify import Depth, verify_file

    found: Verification | FolderVerification
    with remarks(quiet or not verbose, verbose):
        depth = Depth(windows, seed, tolerance, workers)
        if is_batch(out):
            if provenance is not None:
                raise OptionError(
                    f"{out} is of a batch, whose journal names each provenance raster"
                )
            found = verify_folder(out, sources, sample, depth)
        else:
            if len(sources) > 1 or sample is not None:
                raise OptionError(f"{out} is one result: it has one source, and no sample")
            found = verify_file(out, sources[0], provenance, depth)
    click.echo(json.dumps(found.as_dict()) if as_json else in_flags(_text(found)))
    if not found.ok:
        sys.exit(1)


def _text(found: Verification | FolderVerification) -> str:
    """A line for each finding, those of results that fail last."""
    from geodecloud.report.findings import Verification

    if isinstance(found, Verification):
        return str(found)
    results = sorted(found.results, key=lambda result: not result.ok)
    lines = [f"{result.out}\n{result}" for result in results]
    broken = sum(not result.ok for result in results)
    lines.append(f"{len(results)} of {found.recorded} results looked at, {broken} failed")
    return "\n".join(lines)
