"""What a process of the test cluster runs; nothing of this package is imported before it is asked for."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def run_dask(command: list[str], log: Path) -> None:
    """Run a command of ``dask`` to its end, its output written to a file."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    import torch
    from dask.__main__ import main

    torch.set_num_threads(1)
    sys.argv = ["dask", *command]
    main()


def decloud_in_a_task(scene: Path, out: Path, model: str) -> None:
    """Declouding as a task of a cluster that has one thread, in this process."""
    import distributed

    import geodecloud

    local = {"processes": False, "n_workers": 1, "threads_per_worker": 1}
    with (
        distributed.LocalCluster(**local, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        task = client.submit(geodecloud.decloud_scene, scene, out, model=model, backend="torch")
        task.result(timeout=50)
