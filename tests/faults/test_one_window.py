"""A fault at one window only: the run ends with one message and leaves nothing, and the next makes it good.

Reader, writer and model of a scene are in test_faults.py; here are other dates, and a device whose memory is too small
for a single window. The oracle is a run that nothing happens to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from click.testing import CliRunner, Result
from conftest import make_toy_model, textured_dn, write_raster
from rasterio.errors import RasterioIOError

from geodecloud.backends.torch_device import TorchBackend
from geodecloud.cli.commands import main
from geodecloud.raster.reader import _Pixels, reading


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A scene of six chunks under a cloud, with another date, and the command for it."""
    monkeypatch.setattr("geodecloud.restore.decisions.chunk_px", lambda _: 50)
    monkeypatch.setattr("geodecloud.restore.decisions._choose_layout", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    dn = textured_dn(4, 100, 150, nodata=0)
    write_raster(Path("other.tif"), dn, nodata=0)
    cloudy = dn.copy()
    cloudy[:, 20:80, 20:120] = 8000
    write_raster(Path("scene.tif"), cloudy, nodata=0)
    write_raster(Path("cloud.tif"), (cloudy[:1] == 8000).astype(np.uint8))
    make_toy_model(Path("toy.safetensors"))
    Path("out").mkdir()
    asked = ["scene.tif", "--out", "out/clear.tif", "--model", "toy.safetensors"]
    asked += ["--mask", "cloud.tif", "--scale", "1e-4", "--offset", "0", "--batch-size", "1"]
    return [*asked, "--window", "64", "--workers", "1", "--no-resume", "--backend", "torch"]


def run(words: list[str]) -> Result:
    return CliRunner().invoke(main, words, catch_exceptions=False)


def assert_told_and_left_nothing(done: Result, message: str) -> None:
    assert done.exit_code == 1, done.output
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert message in line
    assert list(Path("out").iterdir()) == []


def pixels(words: list[str]) -> Any:
    done = run(words)
    assert done.exit_code == 0, done.output
    with rasterio.open("out/clear.tif") as src:
        return src.read()


def test_a_device_too_small_for_one_window(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = TorchBackend._forward, []

    def too_large(self: TorchBackend, *arguments: Any) -> Any:
        calls.append(arguments[0][0].shape[0])
        if len(calls) == 2:
            raise torch.OutOfMemoryError
        return forward(self, *arguments)

    whole = pixels(words)
    Path("out/clear.tif").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(TorchBackend, "_forward", too_large)
        done = run(words)
    assert calls == [1, 1]
    assert_told_and_left_nothing(done, "cpu has too little memory for one window of")
    assert "use a smaller window, such as --window 256" in done.stderr
    np.testing.assert_array_equal(pixels(words), whole)


def test_another_date_that_cannot_be_read_at_one_window(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*words, "--reference", "other.tif"]
    read, calls = _Pixels.__getitem__, []

    def damaged(self: _Pixels, key: tuple[Any, ...]) -> Any:
        if self.path.endswith("other.tif"):
            calls.append(key)
            if len(calls) == fail_at:
                with reading(self.path):
                    raise RasterioIOError("Read failed")
        return read(self, key)

    fail_at = 0
    monkeypatch.setattr(_Pixels, "__getitem__", damaged)
    whole = pixels(words)
    assert len(calls) > 1
    Path("out/clear.tif").unlink()
    fail_at, calls[:] = len(calls), []  # the last of its windows
    done = run(words)
    assert_told_and_left_nothing(
        done, "other.tif cannot be read, it may be cut off or damaged: Read failed"
    )
    fail_at = 0
    np.testing.assert_array_equal(pixels(words), whole)
