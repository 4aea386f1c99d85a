"""Where the time of one window goes: the published graph in torch, then ours in OpenVINO.

::

    python benchmarks/layers.py [--model s2-10m] [--precision fp32]

torch's own profiler for the first, OpenVINO's counters for the second; milliseconds of one window, by
kind of operation, on all cores. Profiling itself slows both a little.
"""

from __future__ import annotations

from collections import defaultdict

import click
import numpy as np
import openvino as ov
import torch
from naive import PublishedGenerator
from torch.profiler import profile

from geodecloud.backends.openvino_graph import Sides, build_graph
from geodecloud.compute.engine import threads_here
from geodecloud.models.catalogue import find_weights
from geodecloud.models.tensors import read_tensors


def table(title: str, found: dict[str, tuple[float, int]]) -> None:
    total = sum(ms for ms, _ in found.values())
    print(f"\n{title}: {total:.0f} ms\n\n| operation | calls | ms | share |\n|---|---|---|---|")
    for name, (ms, calls) in sorted(found.items(), key=lambda item: -item[1][0]):
        if ms > total / 200:
            print(f"| {name} | {calls} | {ms:.0f} | {ms / total:.0%} |")


def published(channels: int, side: int) -> None:
    network, batch = PublishedGenerator(channels).eval(), torch.rand(1, channels, side, side)
    torch.set_num_threads(threads_here())
    with torch.no_grad():
        network(batch)
        with profile() as prof:
            network(batch)
    found = {
        event.key: (event.self_cpu_time_total / 1e3, event.count) for event in prof.key_averages()
    }
    table(f"published graph, torch, fp32, {side} x {side} px", found)


def ours(model: str, precision: str, height: int, width: int) -> None:
    card, tensors = read_tensors(find_weights(model))
    graph = build_graph(card, tensors, Sides(True, True, True, True), (height, width))
    config = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": threads_here(),
        "NUM_STREAMS": 1,
        "PERF_COUNT": True,
    }
    request = ov.Core().compile_model(graph, "CPU", config).create_infer_request()
    patch = np.random.default_rng(0).random((1, len(card.channels), height, width), np.float32)
    for _ in range(3):
        request.infer([patch])
    spent: dict[str, list[float]] = defaultdict(list)
    for node in request.profiling_info:
        spent[f"{node.node_type}, {node.exec_type}"].append(node.real_time.total_seconds() * 1e3)
    table(
        f"{model}, OpenVINO, {precision}, {height} x {width} px",
        {name: (sum(each), len(each)) for name, each in spent.items()},
    )


@click.command()
@click.option("--model", default="s2-10m", show_default=True)
@click.option("--precision", default="fp32", show_default=True)
def main(model: str, precision: str) -> None:
    """Print both tables."""
    card, _ = read_tensors(find_weights(model))
    published(len(card.channels), 512)
    ours(model, precision, 593, 1114)


if __name__ == "__main__":
    main()
