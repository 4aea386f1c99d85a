"""The command that writes a page about a result, or about all results of a batch."""

from __future__ import annotations

from pathlib import Path

import click

from geodecloud.cli.options import verbosity
from geodecloud.cli.terminal import remarks


@click.command()
@click.argument("out")
@click.option("--source", required=True, help="The scene, or the folder of the scenes of a batch.")
@click.option("--html", required=True, help="Page to write; it works without a network.")
@click.option("--provenance", metavar="FILE", help="Provenance raster of the result.")
@click.option("--cloud-map", metavar="FILE", help="Cloud map of the result.")
@click.option(
    "--source-date", metavar="FILE", help="Raster of the dates that filled pixels come from."
)
@click.option(
    "--confidence", metavar="FILE", help="Raster of the expected error of replaced pixels."
)
@click.option("--overwrite", is_flag=True, help="Replace a page that exists.")
@verbosity
def report(
    out: str,
    source: str,
    html: str,
    overwrite: bool,
    quiet: bool,
    verbose: int,
    **layers: str | None,
) -> None:
    """Write a page about a result OUT, or about all in the folder OUT of a batch: one HTML file."""
    from geodecloud.batch.index import has_summary, write_index
    from geodecloud.errors import OptionError
    from geodecloud.report.page import write_report

    with remarks(quiet, verbose):
        if not has_summary(out):
            click.echo(write_report(out, source, html, overwrite=overwrite, **layers))
            return
        if given := [name for name, path in layers.items() if path is not None]:
            raise OptionError(
                f"{given[0]}={layers[given[0]]!r} is of one result, and {out} is the folder of a batch"
            )
        click.echo(write_index(Path(out), source, html, overwrite=overwrite))
