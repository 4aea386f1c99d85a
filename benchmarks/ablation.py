r"""Which network, in two tables: its parts at equal steps, and what it works on at equal time.

::

    python benchmarks/ablation.py --clear DATA/clear --pairs DATA/sen12mscr --out runs/ablation --jobs 2
    python benchmarks/ablation.py --of blocks --minutes 5 --clear DATA/clear --pairs DATA/sen12mscr --out runs/blocks

Every variant is ``benchmarks/ablation.toml``, or ``ablation_blocks.toml``, with the lines that its row says. Gain is the mean over
the ten selecting pairs before the mask, by the last step; L1 that of the last 100 steps under simulated clouds. Cost is the
time of a training step (forward and backward, fp32, one core) as a multiple of that of the first row, measured in one go before
the runs. At equal time a variant gets as many steps as fit into the minutes by that cost, and its last weights are scored once
more, as every scene is processed: simulated skies over the clear dates of the pairs that choose nothing (PSNR of thin cloud, opaque cloud
and shadow, thresholds 0.25 and 0.54). A run that is stopped goes on when the same command is given again.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
import torch

from geodecloud.models.weights import load_model, save_weights
from geodecloud.training.config import Config
from geodecloud.training.evaluate import score_model
from geodecloud.training.expected_error import draw_pair
from geodecloud.training.finish import new_network
from geodecloud.training.pairs import Pair, read_pairs
from geodecloud.training.passes import run_passes

HERE = Path(__file__).parent
PARTS = {
    "as shipped": "seed = 1",
    "as shipped, another seed": "seed = 2",
    "recurrent passes": 'seed = 1\npasses = "recurrent"',
    "direction weights": "seed = 1\ndirection_weights = true",
    "width 16": "seed = 1\nwidth = 16",
    "the whole image is put out": 'seed = 1\noutput = "image"',
}
#: On 4 x 4 px with 48 channels, as shipped, each row with one thing more or less.
_BLOCKS = "seed = 1\nblocks = 4\nwidth = 48\n"
BLOCKS = {
    "single pixels, width 32 (the paper's)": "seed = 1\nwidth = 32\n",
    "blocks of 4 px, width 48": _BLOCKS,
    "and a prior of the ground around": _BLOCKS + "prior = true\n",
    "and where shadows may lie: as shipped": _BLOCKS + "prior = true\nshade = true\n",
    "as shipped, on blocks of 2 px": "seed = 1\nblocks = 2\nwidth = 48\nprior = true\nshade = true\n",
    "as shipped, with the discriminator from half way on": _BLOCKS
    + "prior = true\nshade = true\nadversarial_weight = 1.0\nadversarial_from = {half}\n",
}
#: Skies over each clear date that scores a variant.
_SKIES, _SEED = 2, 91


def write_config(out: Path, name: str, lines: str, shared: str) -> Path:
    """The variant's config, in a folder of its own."""
    path = out / re.sub(r"\W+", "_", name) / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = (HERE / shared).read_text()
    for key in re.findall(r"(?m)^(\w+) = ", lines):  # the row has the last word
        text = re.sub(rf"(?m)^{key} = .*\n", "", text)
    path.write_text(lines + "\n" + text)
    return path


def step_seconds(config: Config) -> float:
    """Median of three training steps after one that warms up."""
    network, side = new_network(config), config.crop_px
    batch, taken = torch.rand(config.batch, network.in_channels, side, side), []
    for _ in range(4):
        began = time.perf_counter()
        torch.stack(
            [part.mean() for seen in run_passes(network, batch) for part in seen]
        ).sum().backward()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def run(config: Path, clear: Path, pairs: Path) -> dict[str, float]:
    """Train one variant on one core; the last line of its log."""
    words = ["train", config, "--clear", clear, "--pairs", pairs, "--out", config.parent]
    command = [sys.executable, "-m", "geodecloud", *map(str, words), "--accelerator", "cpu"]
    with (config.parent / "log.txt").open("a") as log:
        subprocess.run(
            command, check=True, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
    lines = (config.parent / "log.jsonl").read_text().splitlines()
    last: dict[str, float] = json.loads(lines[-1])
    return last


def score(weights: Path, pairs: list[Pair]) -> dict[str, float]:
    """PSNR in dB by class, all simulated scenes together."""
    model = load_model(weights)
    card = dataclasses.replace(model.card, cloud_threshold=0.25, opaque_threshold=0.54)
    save_weights(model.network, card, weights.with_name("scored.safetensors"))
    sums: dict[str, np.ndarray] = {}
    for number, pair in enumerate(pairs):
        for sky in range(_SKIES):
            scene = draw_pair(pair, (_SEED, number, sky))
            found = score_model(scene, str(weights.with_name("scored.safetensors")))
            for name, both in found.by_class.items():
                sums[name] = sums.get(name, np.zeros(2)) + both
    return {name: -10 * np.log10(squares / px) for name, (px, squares) in sums.items()}


@click.command()
@click.option("--clear", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--pairs", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--of", type=click.Choice(["parts", "blocks"]), default="parts", show_default=True)
@click.option("--minutes", type=float, default=5, show_default=True, help="Of each row of blocks.")
@click.option("--jobs", type=click.IntRange(1), default=1, help="Runs at a time.")
def main(clear: Path, pairs: Path, out: Path, of: str, minutes: float, jobs: int) -> None:
    """Time, train, print a table."""
    torch.set_num_threads(1)
    variants = PARTS if of == "parts" else BLOCKS
    shared = "ablation.toml" if of == "parts" else "ablation_blocks.toml"
    configs = {
        name: write_config(out, name, lines.format(half=0), shared)
        for name, lines in variants.items()
    }
    seconds = {name: step_seconds(Config.read(path)) for name, path in configs.items()}
    if of == "blocks":
        for name, lines in variants.items():
            steps = round(60 * minutes / seconds[name])
            timed = f"steps = {steps}\n{lines.format(half=steps // 2)}"
            write_config(out, name, timed, shared)
    with ThreadPoolExecutor(jobs) as pool:
        scores = list(pool.map(lambda config: run(config, clear, pairs), configs.values()))
    first = next(iter(seconds.values()))
    more = ["steps", "minutes", "thin dB", "opaque dB", "shadow dB"] if of == "blocks" else []
    names = ["variant", "parameters", "cost", "gain dB", "simulated L1", *more]
    print("| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|")
    for (name, path), last in zip(configs.items(), scores, strict=True):
        config = Config.read(path)
        parameters = sum(p.numel() for p in new_network(config).parameters())
        row = [
            name,
            f"{parameters:,}",
            f"{seconds[name] / first:.2f}",
            f"{last['gain_db']:.2f}",
            f"{last['l1']:.2f}",
        ]
        if of == "blocks":
            left_out = [
                p
                for p in read_pairs(pairs, config.bands, config.pair_bands)
                if p.name not in config.select_pairs
            ]
            by_class = score(path.with_name("ablation.safetensors"), left_out)
            row += [str(config.steps), f"{last['minutes']:.1f}"]
            row += [f"{by_class[name]:.1f}" for name in ("thin", "opaque", "shadow")]
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
