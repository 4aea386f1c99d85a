r"""Measure the table of expected errors of a weights file anew, and write it on its card; nothing is trained.

::

    python tools/expected_error.py FILE.safetensors examples/train_s2_10m.toml --clear DATA/clear --pairs DATA/sen12mscr

FILE is rewritten: its tensors, and so its sha256, stay as they are. The config and the folders say on what ground and under
what clouds to measure, as for `geodecloud train`.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import click
import numpy as np
from safetensors.numpy import save

from geodecloud.errors import GeodecloudError
from geodecloud.models.tensors import CARD_KEY
from geodecloud.models.weights import load_model
from geodecloud.raster.whole_files import replacing
from geodecloud.training.config import Config
from geodecloud.training.expected_error import CROPS, measure_errors, table_examples
from geodecloud.training.sources import read_sources


@click.command()
@click.argument("weights", type=click.Path(path_type=Path, exists=True))
@click.argument("config", type=click.Path(path_type=Path, exists=True))
@click.option("--clear", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--pairs", type=click.Path(path_type=Path, exists=True))
@click.option("--crops", default=CROPS, show_default=True, help="Crops to measure on.")
@click.option("--dry-run", is_flag=True, help="Print the table, and leave the file as it is.")
def main(
    weights: Path, config: Path, clear: Path, pairs: Path | None, crops: int, dry_run: bool
) -> None:
    """Measure, print the table, and write it on the card."""
    model = load_model(weights)
    choosing = read_sources(Config.read(config), clear, None, pairs).choosing
    assert choosing is not None  # there is clear imagery
    if choosing.config.display_share or choosing.config.bands != model.card.channel_names:
        raise GeodecloudError(f"{config} is no config of reflectance in the bands of {weights}")
    examples = table_examples(choosing)
    examples.length = crops
    card = measure_errors(model.network, model.card, examples)
    table = card.expected_error
    print(json.dumps(dataclasses.asdict(table)), file=sys.stderr)
    if not dry_run:
        tensors = {name: np.ascontiguousarray(t) for name, t in model.tensors().items()}
        with replacing(weights) as part:
            part.write_bytes(save(tensors, metadata={CARD_KEY: card.to_json()}))
        load_model(weights)  # it can be read, and its hash is still right
        click.echo(weights)


if __name__ == "__main__":
    try:
        main()
    except GeodecloudError as error:
        sys.exit(f"Error: {error}")
