r"""Trained by our trainer on RICE, beside the published weights: for comparison only, never shipped.

::

    python benchmarks/rice.py DATA/rice/RICE1 --out runs/rice1 \
        --published DATA/published/RICE1/gen_model_epoch_200.pth

The pairs of a folder, in the order of their names, are split: two thirds are trained on by
``benchmarks/rice/NAME.toml``, the last third is scored, by ``geodecloud evaluate`` in the standard
definition. The published weights saw most of these pairs in training. A run that is stopped goes on when
the same command is given again.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

HERE = Path(__file__).parent


def split(folder: Path, target: Path) -> tuple[Path, Path]:
    """Folders of links to the pairs to train on and to those to score."""
    names = sorted(path.name for path in (folder / "cloud").iterdir())
    parts = names[: 2 * len(names) // 3], names[2 * len(names) // 3 :]
    folders = target / "train", target / "test"
    for part, chosen in zip(folders, parts, strict=True):
        for kind in ("cloud", "label"):
            (part / kind).mkdir(parents=True, exist_ok=True)
            for name in chosen:
                link = part / kind / name
                if not link.is_symlink():
                    link.symlink_to((folder / kind / name).resolve())
    return folders


def geodecloud(*words: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "geodecloud", *map(str, words)], check=True)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--published", type=click.Path(path_type=Path, exists=True), help="Checkpoint.")
@click.option("--config", type=click.Path(path_type=Path, exists=True), help="Of the training.")
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(folder: Path, published: Path | None, config: Path | None, out: Path) -> None:
    """Split, train, score."""
    name = folder.name.lower()
    learnt, scored = split(folder, out)
    geodecloud(
        *("train", config or HERE / "rice" / f"{name}.toml", "--train-pairs", learnt),
        *("--out", out / "run", "--accelerator", "cpu"),
    )
    models = [out / "run" / f"{name}.safetensors"]
    if published:
        models.append(out / "published.safetensors")
        geodecloud("models", "import", published, "--out", models[-1], "--overwrite")
    words = [word for model in models for word in ("--model", model)]
    geodecloud("evaluate", "--data", scored, *words)


if __name__ == "__main__":
    main()
