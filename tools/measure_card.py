r"""Measure the usual ground and the table of expected errors of a weights file anew, and write both on its card; nothing is
trained.

::

    python tools/measure_card.py FILE.safetensors examples/train_s2_10m.toml --pairs DATA/sen12mscr --clear DATA/clear

FILE is rewritten: its tensors, and so its sha256, stay as they are. The config is that of the training, for the names of
bands, of the pairs whose clear dates lie under the simulated clouds (``select_pairs``) and of those that lend texture. The
clear imagery that was trained on says what ground is usually like, and lends some of the shape of the curves, not their
mean; without it, the usual ground stays as it is.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import click
from safetensors.numpy import save

from geodecloud.errors import GeodecloudError, OptionError
from geodecloud.models.tensors import CARD_KEY
from geodecloud.models.weights import load_model
from geodecloud.raster.whole_files import replacing
from geodecloud.training.config import Config
from geodecloud.training.expected_error import SCENE_PX, measure_errors
from geodecloud.training.sources import read_learnt, read_left_out, read_sources
from geodecloud.training.usual_ground import measure_usual_ground


@click.command()
@click.argument("weights", type=click.Path(path_type=Path, exists=True))
@click.argument("config", type=click.Path(path_type=Path, exists=True))
@click.option("--pairs", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--clear", type=click.Path(path_type=Path, exists=True), help="Trained on.")
@click.option("--scenes", type=int, help="Simulated scenes.  [default: as the config says]")
@click.option("--dry-run", is_flag=True, help="Print the table, and leave the file as it is.")
def main(
    weights: Path,
    config: Path,
    pairs: Path,
    clear: Path | None,
    scenes: int | None,
    dry_run: bool,
) -> None:
    """Measure, print the table, and write it on the card."""
    model, options = load_model(weights), Config.read(config)
    if options.draws_pictures or options.bands != model.card.channel_names:
        raise OptionError(f"{config} is no config of reflectance in the bands of {weights}")
    grounds, textures = read_left_out(options, pairs)
    if not grounds:
        raise OptionError(f"select_pairs of {config} names no pair of {pairs}")
    about = textures, options.subsets, scenes or options.error_scenes
    learnt = [] if clear is None else read_learnt(options, clear, SCENE_PX)
    card = model.card
    if clear is not None and card.reads_prior:
        examples = read_sources(options, clear, None, pairs).choosing
        assert examples is not None
        card = dataclasses.replace(card, usual_ground=measure_usual_ground(examples))
        print(json.dumps(dict(zip(card.channel_names, card.usual_ground, strict=True))))
    card = measure_errors(model.network, card, grounds, *about, learnt)
    if card.expected_error is None:
        raise OptionError(f"error_scenes of {config} is 0; give --scenes 80")
    print(json.dumps(dataclasses.asdict(card.expected_error), indent=1))
    if dry_run:
        return
    with replacing(weights) as part:
        part.write_bytes(save(model.tensors(), metadata={CARD_KEY: card.to_json()}))
    load_model(weights)  # it can be read, and its tensors are what they were


if __name__ == "__main__":
    try:
        main(standalone_mode=False)
    except GeodecloudError as error:
        sys.exit(f"Error: {error}")
