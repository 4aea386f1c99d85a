r"""Make a model of the mean of the weights of two with one ancestor; nothing is trained.

::

    python tools/mean.py ONE.safetensors OTHER.safetensors --like examples/train_s2_10m.toml \
        --clear DATA/clear --pairs DATA/sen12mscr --out runs/mean

Thresholds are chosen and expected errors measured as at the end of a training run with that config.
"""

from __future__ import annotations

from pathlib import Path

import click

from geodecloud.errors import WeightsError
from geodecloud.models.weights import load_model, save_weights
from geodecloud.raster.targets import make_folder
from geodecloud.training.config import Config
from geodecloud.training.finish import BEST, begin_card, finish, mean_weights
from geodecloud.training.sources import read_sources


@click.command()
@click.argument("models", nargs=2)
@click.option("--like", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--clear", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--pairs", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder.")
def main(models: tuple[str, str], like: Path, clear: Path, pairs: Path, out: Path) -> None:
    """Write OUT/NAME.safetensors, with the name of the config."""
    config = Config.read(like)
    sources = read_sources(config, clear, None, pairs)
    one, other = (load_model(model) for model in models)
    if one.card.architecture != other.card.architecture or one.card.channels != other.card.channels:
        raise WeightsError(f"{models[0]} and {models[1]} are models of different kinds")
    one.network.load_state_dict(mean_weights([one.network, other.network]))
    make_folder(out)
    card = begin_card(config, sources)
    save_weights(one.network, card, out / BEST)
    print(finish(config, sources, card, out))


if __name__ == "__main__":
    main()
