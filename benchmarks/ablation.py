r"""Which network: passes, direction weights, width and output, each trained for the same number of steps.

::

    python benchmarks/ablation.py --clear DATA/clear --pairs DATA/sen12mscr --out runs/ablation --jobs 2

Every variant is ``benchmarks/ablation.toml`` with the lines that its row says. Gain is the mean over the ten
selecting pairs before the mask, by the last step; L1 that of the last 100 steps under simulated clouds. Cost is the
time of a training step (forward and backward, 8 crops of 96 px, fp32, one core) as a multiple of that of the first
row, measured in one go before the runs. A run that is stopped goes on when the same command is given again.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import torch

from geodecloud.models.spanet import SPANet
from geodecloud.training.config import Config
from geodecloud.training.finish import new_network

HERE = Path(__file__).parent
VARIANTS = {
    "as shipped": "seed = 1",
    "as shipped, another seed": "seed = 2",
    "recurrent passes": 'seed = 1\npasses = "recurrent"',
    "direction weights": "seed = 1\ndirection_weights = true",
    "width 16": "seed = 1\nwidth = 16",
    "the whole image is put out": 'seed = 1\noutput = "image"',
}


def write_config(out: Path, name: str) -> Path:
    """The variant's config, in a folder of its own."""
    path = out / name.replace(" ", "_") / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(VARIANTS[name] + "\n" + (HERE / "ablation.toml").read_text())
    return path


def step_seconds(network: SPANet) -> float:
    """Median of three training steps after one that warms up."""
    batch, taken = torch.rand(8, network.in_channels, 96, 96), []
    for _ in range(4):
        began = time.perf_counter()
        restored, attention = network(batch)
        (restored.mean() + attention.mean()).backward()
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


@click.command()
@click.option("--clear", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--pairs", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--jobs", type=click.IntRange(1), default=1, help="Runs at a time.")
def main(clear: Path, pairs: Path, out: Path, jobs: int) -> None:
    """Time, train, print a table."""
    torch.set_num_threads(1)
    configs = [write_config(out, name) for name in VARIANTS]
    networks = [new_network(Config.read(config)) for config in configs]
    seconds = [step_seconds(network) for network in networks]
    with ThreadPoolExecutor(jobs) as pool:
        scores = list(pool.map(lambda config: run(config, clear, pairs), configs))
    print("| variant | parameters | cost | gain dB | simulated L1 |\n|---|---|---|---|---|")
    for name, network, cost, score in zip(VARIANTS, networks, seconds, scores, strict=True):
        parameters = sum(p.numel() for p in network.parameters())
        print(
            f"| {name} | {parameters:,} | {cost / seconds[0]:.2f} | {score['gain_db']:.2f} "
            f"| {score['l1']:.2f} |"
        )


if __name__ == "__main__":
    main()
