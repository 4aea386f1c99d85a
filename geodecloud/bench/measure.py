"""How fast this machine clears scenes: each backend and precision, against reference and peak.

All figures of one call are measured in one run, in turn; compare the ratios within it. Inference is timed
on the windows a scene would be cut into; the net rate counts their pixels without the halo.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from dask.array.core import normalize_chunks

from geodecloud.backends import Array, Margins, choose_backend, open_backend, window_cost
from geodecloud.backends.accelerators import has_accelerator
from geodecloud.backends.declouder import Declouder
from geodecloud.bench.machine import cpu_precisions, joules, machine, peak_gflops
from geodecloud.bench.scene import clear_scene
from geodecloud.compute.engine import threads_here
from geodecloud.errors import DeviceError, OptionError
from geodecloud.models.architecture import architecture_of
from geodecloud.models.card import ModelCard
from geodecloud.models.catalogue import get_card, shipped_cards
from geodecloud.restore.composite import MASK_REACH_PX
from geodecloud.restore.network import margins_of
from geodecloud.windows.tiler import (
    ChunkLayout,
    PaddedWindow,
    Window,
    chunk_px,
    plan_chunks,
    plan_windows,
)

log = logging.getLogger(__name__)

#: The published graph; it is not part of an installed package, and is left out where it is missing.
REFERENCE = Path(__file__).parents[2] / "benchmarks" / "naive.py"
_REFERENCE_PX = 512
#: Images that tell the error against float32 by torch.
_COMPARED = 3
#: What is known of one way to run the network -> heading and format. `ratio` is to the reference, None
#: where that is not here; `of_peak` is the share of the machine's best matrix product, on CPUs; errors are
#: in reflectance, against float32 by torch, None for the reference.
_COLUMNS = {
    "name": ("inference", "s"),
    "mpix_per_s": ("MPix/s net", ".3f"),
    "gross_mpix_per_s": ("gross", ".3f"),
    "ratio": ("ratio", ".1f"),
    "of_peak": ("of peak", ".0%"),
    "max_error": ("max error", ".1e"),
    "psnr_db": ("PSNR dB", ".1f"),
    "bias": ("bias", ".1e"),
}

Row = dict[str, Any]


def run(
    model: str,
    size: int,
    inference: bool,
    scene: bool,
    precisions: Sequence[str],
    backends: Sequence[str],
    as_json: bool,
) -> str:
    """What ``geodecloud bench`` prints.

    Parameters
    ----------
    model : a shipped model's name or a file
    size : side of the synthetic scene in px
    inference : time each backend and precision
    scene : time a run from file to file
    precisions, backends : only these; empty: all there are
    as_json : one JSON object instead of Markdown tables

    Raises
    ------
    OptionError
        If the model has no network.
    """
    card = get_card(model)
    if not card.channels:
        named = ", ".join(name for name, other in shipped_cards().items() if other.channels)
        raise OptionError(f"model {model} has no network to time; name one of: {named}")
    found: dict[str, Any] = {"scene": f"{size} x {size} px, model {card.name}"}
    if scene:  # first: what follows takes memory
        found["runs"] = {}
        for precision in precisions or cpu_precisions():
            log.info("a scene from file to file in %s", precision)
            energy, began = joules(), time.perf_counter()
            row = clear_scene(card, model, size, precision=precision)
            if energy is not None:
                row["watts"] = ((joules() or 0) - energy) / (time.perf_counter() - began)
            found["runs"][precision] = row
    if inference:
        found |= measure(card, model, size, precisions, backends)
    found["machine"] = machine()
    return json.dumps(found, indent=2) if as_json else _tables(found)


def _tables(found: dict[str, Any]) -> str:
    lines = [f"{found['scene']}; {found['machine']}"]
    if "rows" in found:
        peaks = ", ".join(f"{p} {v:.0f}" for p, v in found["peak_gflops"].items())
        rows = [
            {
                heading: "-" if row[name] is None else format(row[name], form)
                for name, (heading, form) in _COLUMNS.items()
            }
            for row in found["rows"]
        ]
        lines += ["", f"Best matrix product, GFLOP/s: {peaks}", "", _table(rows)]
    if "runs" in found:
        rows = [
            {"run": name, **{k: f"{v:.2f}" for k, v in row.items()}}
            for name, row in found["runs"].items()
        ]
        lines += ["", _table(rows)]
    return "\n".join(lines)


def _table(rows: list[dict[str, str]]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def measure(
    card: ModelCard, model: str, size: int, precisions: Sequence[str], backends: Sequence[str]
) -> dict[str, Any]:
    """Time the reference and every backend and precision of this machine.

    Returns
    -------
    ``peak_gflops`` by precision, and ``rows``, see `_COLUMNS`
    """
    peaks = {p: peak_gflops(p) for p in cpu_precisions()}
    rows: list[Row] = []
    reference = None
    if REFERENCE.is_file():
        log.info("the published graph")
        reference = _reference_mpix_per_s(len(card.channels))
        rate = {"mpix_per_s": reference, "gross_mpix_per_s": reference}
        name = "published graph, torch eager, fp32, 512 px"
        rows.append(dict.fromkeys(_COLUMNS) | rate | {"name": name})
    flop_per_px = 2 * architecture_of(card).multiplications(len(card.channels))
    for device, precision, backend in _ways(card):
        if (precisions and precision not in precisions) or (backends and backend not in backends):
            continue
        declouder = Declouder(
            card, open_backend(card, model, device, precision, backend, threads_here())
        )
        log.info("%s", declouder.backend.name)
        net, gross = scene_rate(declouder, size)
        row: Row = {
            "name": declouder.backend.name,
            "mpix_per_s": net,
            "gross_mpix_per_s": gross,
            "ratio": net / reference if reference else None,
            "of_peak": gross * flop_per_px / 1e3 / peaks[precision] if device == "cpu" else None,
        }
        rows.append(row | _errors(declouder, model))
    return {"peak_gflops": peaks, "rows": rows}


def _ways(card: ModelCard) -> Iterator[tuple[str, str, str]]:
    """Device, precision and backend of everything that runs here."""
    for backend in ("torch", "openvino"):
        for precision in cpu_precisions():
            try:
                choose_backend(card, "cpu", precision, backend)
            except DeviceError:
                continue
            yield "cpu", precision, backend
    if has_accelerator():
        import torch

        device = "cuda" if torch.cuda.is_available() else "mps"
        for precision in ("fp32", "fp16"):
            yield device, precision, "torch"


def plan_scene_windows(
    size: int, window_px: int, reach_px: int, shared: bool, align_px: int = 1
) -> list[PaddedWindow]:
    """The windows a scene of `size` px is cut into, chunk by chunk, as the pipeline does.

    `shared`: see `geodecloud.compute.memory.WindowCost`.
    """
    extent = Window(0, 0, size, size)
    if shared:
        cut = plan_chunks((size, size), window_px, reach_px, MASK_REACH_PX, align_px)
    else:
        (sizes,) = normalize_chunks(chunk_px((size, size)), (size,))
        cut = ChunkLayout(sizes, sizes)
    plans: list[PaddedWindow] = []
    for row, height in _offsets(cut.rows):
        for col, width in _offsets(cut.cols):
            region = Window(col, row, width, height).grow(MASK_REACH_PX, extent)
            plans += plan_windows(region, window_px, reach_px, extent, cut.ends, align_px)
    return plans


def _offsets(sizes: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """(offset, size) of parts in a row."""
    return zip(accumulate(sizes, initial=0), sizes, strict=False)


def scene_rate(declouder: Declouder, size: int) -> tuple[float, float]:
    """10^6 pixels of the scene a second, and with halo."""
    card = declouder.card
    _, cost = window_cost(declouder.backend.name.split()[0], "", card=card)
    reach_px = declouder.card.halo_px or 0
    plans = plan_scene_windows(size, declouder.window_px, reach_px, cost.shared, card.align_px)
    side = max(max(p.padded.shape_yx) for p in plans)
    image = _image(len(declouder.card.channels), side)

    def run(plan: PaddedWindow) -> None:
        height, width = plan.padded.shape_yx
        declouder.predict(np.ascontiguousarray(image[None, :, :height, :width]), margins_of(plan))

    for plan in {(p.padded.shape_yx, margins_of(p)): p for p in plans}.values():
        run(plan)  # compiled, and its memory mapped
        if declouder.backend.name.startswith("torch on cpu"):
            break
    with ThreadPoolExecutor(threads_here()) as pool:
        began = time.perf_counter()
        list(pool.map(run, plans))
        seconds = time.perf_counter() - began
    gross = sum(p.padded.width * p.padded.height for p in plans)
    return size * size / seconds / 1e6, gross / seconds / 1e6


def _reference_mpix_per_s(channels: int) -> float:
    """The published graph on windows of 512 px without halo, as it was published."""
    import torch

    spec = importlib.util.spec_from_file_location("naive", REFERENCE)
    assert spec is not None
    assert spec.loader is not None
    naive = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(naive)
    network = naive.PublishedGenerator(channels).eval()
    batch = torch.from_numpy(_image(channels, _REFERENCE_PX)[None])
    with torch.no_grad():
        network(batch)
        began = time.perf_counter()
        for _ in range(3):
            network(batch)
    return 3 * _REFERENCE_PX**2 / (time.perf_counter() - began) / 1e6


def _errors(declouder: Declouder, model: str) -> dict[str, float]:
    """Largest error, PSNR in dB and bias of the restored image against float32 by torch."""
    card = declouder.card
    exact = Declouder(card, open_backend(card, model, "cpu", "fp32", "torch"))
    margins = Margins(*(card.halo_px or 0,) * 4)
    patches = [_image(len(card.channels), 328, seed)[None] for seed in range(_COMPARED)]
    ours, theirs = (
        np.stack([d.predict(patch, margins)[0] for patch in patches]).astype(np.float64)
        for d in (declouder, exact)
    )
    error = ours - theirs
    mse = float(np.mean(error**2))
    return {
        "max_error": float(np.abs(error).max()),
        "psnr_db": -10 * math.log10(mse) if mse else math.inf,
        "bias": float(error.mean()),
    }


def _image(channels: int, side: int, seed: int = 0) -> Array:
    """Reflectance of hills with a bright cloud, (C, side, side): nothing in it is 0 or flat."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    hills = (
        0.12
        + 0.05 * np.sin(x / 37 + seed) * np.cos(y / 23)
        + 0.01 * rng.standard_normal((side, side))
    )
    cloud = np.exp(-((x - side / 2) ** 2 + (y - side / 3) ** 2) / (side / 5) ** 2)
    bands = [hills * (1 + 0.1 * c) * (1 - cloud) + 0.7 * cloud for c in range(channels)]
    return np.stack(bands).astype(np.float32)
