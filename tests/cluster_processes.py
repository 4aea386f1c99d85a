"""A Dask cluster of processes on the loopback address, each of which can be killed."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from dask_process import run_dask

distributed = pytest.importorskip("distributed")

#: Libraries, and not this package, that all processes have at hand: they are imported once.
forkserver = multiprocessing.get_context("forkserver")
forkserver.set_forkserver_preload(["distributed", "rioxarray", "torch"])


class Processes:
    """``dask scheduler`` and ``dask worker``, in processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        file = folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--port", "0", "--scheduler-file", str(file))
        deadline = time.monotonic() + 60
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        self.client = distributed.Client(scheduler_file=str(file), set_as_default=False)
        self.address = self.client.scheduler.address
        self.workers: list[BaseProcess] = []

    def _start(self, *command: str) -> BaseProcess:
        options = [*command, "--no-dashboard", "--host", "127.0.0.1"]
        process = forkserver.Process(target=run_dask, args=(options, self.folder / "log.txt"))
        process.start()
        return process

    def add_workers(self, count: int) -> None:
        """Start workers without a nanny: one that is killed stays dead."""
        options = ("--no-nanny", "--nthreads", "1", "--local-directory", str(self.folder))
        self.workers += [
            self._start("worker", self.address, *options, "--memory-limit", "2GB")
            for _ in range(count)
        ]
        self.client.wait_for_workers(len(self.workers), 120)

    def kill_a_worker(self) -> int:
        """SIGKILL, no chance to clean up; the code it ended with."""
        worker = self.workers.pop()
        worker.kill()
        worker.join(10)
        return worker.exitcode

    def kill_the_scheduler(self) -> None:
        """SIGKILL, too; its workers find it gone and end."""
        self.scheduler.kill()

    def stop(self) -> None:
        """End all of them."""
        self.client.close()
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.join()
