"""Nothing here calls home: no connection is asked for, nothing is made in HOME, no log line comes twice.

The oracle is a listener that stands for the proxy of an office network, and the folder HOME itself.
That the listener hears is shown by OpenVINO as others import it.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

#: Commands and runs on both backends; a run in a child that was spawned, and in a worker of a Dask cluster.
RUNS = """
import multiprocessing, sys
from distributed import Client, LocalCluster
import geodecloud
from geodecloud.cli.commands import main

scene, model, out = sys.argv[1:]

def run(name, backend="openvino", **options):
    geodecloud.decloud_scene(scene, f"{out}/{name}.tif", model=model, backend=backend, **options)

def is_loaded():
    return "openvino" in sys.modules

if __name__ == "__main__":
    for command in (["models", "list"], ["info", scene]):
        main(command, standalone_mode=False)
    run("torch", "torch")
    assert not is_loaded()
    run("openvino")
    child = multiprocessing.get_context("spawn").Process(target=run, args=("spawned",))
    child.start(); child.join()
    options = dict(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0")
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        run("worker", scheduler=cluster.scheduler_address)
        assert all(client.run(is_loaded).values())
"""


class Proxy:
    """Writes down who is asked for, and refuses."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:  # closed
                return
            with connection:
                self.asked.append(connection.recv(400).split(b"\r\n")[0].decode())
                connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy()
    yield proxy
    proxy.close()


def run_python(home: Path, proxy: Proxy, *args: object) -> subprocess.CompletedProcess[str]:
    """Python in an office: all of the web goes through the proxy, and nothing says that this is a test."""
    kept = ("PATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    env |= {"HOME": str(home), "USERPROFILE": str(home), "PYTHONPATH": str(PROJECT)}
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        env |= {name: proxy.address, name.upper(): proxy.address}
    command = [sys.executable, *map(str, args)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_no_run_calls_home_from_any_process(
    scene: Path, toy_model: Path, proxy: Proxy, tmp_path: Path
) -> None:
    script, home = tmp_path / "runs.py", tmp_path / "home"
    script.write_text(RUNS)
    home.mkdir()
    done = run_python(home, proxy, script, scene, toy_model, tmp_path)
    assert done.returncode == 0, done.stderr
    names = ("torch", "openvino", "spawned", "worker")
    assert all((tmp_path / f"{name}.tif").exists() for name in names)
    assert proxy.asked == []
    assert list(home.rglob("*")) == []


@pytest.mark.skipif(
    importlib.util.find_spec("openvino_telemetry") is None, reason="there is nothing to be silenced"
)
def test_the_listener_hears_what_others_would_send(proxy: Proxy, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    assert run_python(home, proxy, "-c", "import openvino").returncode == 0
    assert any("google-analytics" in line for line in proxy.asked)
    assert list(home.iterdir())


def test_log_lines_do_not_come_twice(proxy: Proxy, tmp_path: Path) -> None:
    """Where HOME cannot be written, the telemetry says so, and Python then prints all logs once more."""
    home = tmp_path / "home"
    home.write_text("no folder")
    code = "import {}, logging; print(logging.getLogger().handlers)"
    done = run_python(home, proxy, "-c", code.format("geodecloud.backends.openvino_cpu"))
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_telemetry_is_there_for_others_afterwards() -> None:
    pytest.importorskip("openvino_telemetry")
    code = (
        "import geodecloud.backends.openvino_cpu, sys; assert 'openvino_telemetry' not in sys.modules; "
        "import openvino_telemetry"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT)


def test_one_module_imports_openvino() -> None:
    folders = ("geodecloud", "benchmarks", "examples", "tests")
    files = [path for folder in folders for path in (PROJECT / folder).rglob("*.py")]
    assert len(files) > 100
    found = [path.name for path in files if "openvino" in imported(path)]
    assert found == ["openvino_runtime.py"]


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").partition(".")[0])
    return names
