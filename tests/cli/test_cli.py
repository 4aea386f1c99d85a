"""The command line: results on stdout, one message for what a user can cure, exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from click.testing import CliRunner, Result
from conftest import textured_dn, write_raster
from waiting import wait_while, written

import geodecloud
from geodecloud.cli.commands import main
from geodecloud.raster.raster_file import name_of
from geodecloud.scene.address import without_query


def invoke(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.mark.usefixtures("own_backend")
def test_bare_scene_is_run(scene: Path, tmp_path: Path) -> None:
    for words in ([], ["run"]):
        out = tmp_path / f"clear{len(words)}.tif"
        result = invoke(*words, scene, "--out", out)
        assert result.exit_code == 0, result.output
        assert result.stdout == f"{out}\n"
        assert "model s2-10m" in result.stderr
        assert "reflectance = DN / 10000" in result.stderr
        assert "observed and untouched" in result.stderr
    one, two = (rasterio.open(tmp_path / f"clear{n}.tif").read() for n in (0, 1))
    np.testing.assert_array_equal(one, two)


def test_quiet_says_nothing_but_the_path(scene: Path, tmp_path: Path) -> None:
    result = invoke(scene, "-o", tmp_path / "out.tif", "-q")
    assert (result.stdout, result.stderr) == (f"{tmp_path / 'out.tif'}\n", "")


def test_json_counts_every_pixel_once(scene: Path, tmp_path: Path, toy_model: Path) -> None:
    codes = tmp_path / "codes.tif"
    result = invoke(
        scene, "-o", tmp_path / "o.tif", "--model", toy_model, "--json", "--provenance", codes
    )
    report = json.loads(result.stdout)
    names = ["nodata", "observed", "restored", "synthesised", "left"]
    with rasterio.open(codes) as src:
        counts = np.bincount(src.read(1).ravel(), minlength=5)
        assert src.crs.to_epsg() == 32719
    assert [report["pixels"][name] for name in names] == counts.tolist()
    assert sum(report["pixels"].values()) == 101 * 203


def test_tags_tell_how_the_file_was_made(scene: Path, tmp_path: Path, toy_model: Path) -> None:
    invoke(scene, "-o", tmp_path / "o.tif", "--model", toy_model, "--window", 64)
    with rasterio.open(tmp_path / "o.tif") as dst:
        tags = dst.tags()
    assert tags["GEODECLOUD_MODEL"] == "toy"
    assert len(tags["GEODECLOUD_WEIGHTS_SHA256"]) == 64
    assert json.loads(tags["GEODECLOUD_PARAMETERS"])["window"] == 64
    assert tags["GEODECLOUD_SOURCE"] == "scene.tif"
    assert tags["GEODECLOUD_VERSION"]


def test_creation_options_and_gtiff(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.tif"
    options = ["--model", "identity", "--format", "gtiff", "--co", "COMPRESS=ZSTD"]
    assert invoke(scene, "-o", out, *options, "--co", "blockxsize=256").exit_code == 0
    with rasterio.open(out) as dst:
        assert dst.compression.name == "zstd"
        assert dst.block_shapes[0] == (512, 256)
        assert dst.overviews(1) == []


def test_info_tells_what_would_happen(scene: Path, tmp_path: Path) -> None:
    result = invoke("info", scene, "--json")
    facts = json.loads(result.stdout)
    assert facts["model"] == "s2-10m"
    assert "B02 B03 B04 B08" in facts["why"]
    assert facts["grid"] == "203 x 101 px of 10 x 10 m, EPSG:32719"
    assert facts["nodata"] == "0.0"
    unnamed = write_raster(tmp_path / "two.tif", textured_dn(2, 9, 9))
    result = invoke("info", unnamed)
    assert result.exit_code == 0
    assert "s2-10m: B02 B03 B04 B08" in result.stdout


def test_models_list_and_show() -> None:
    assert set(json.loads(invoke("models", "list", "--json").stdout)) >= {"s2-10m", "identity"}
    card = json.loads(invoke("models", "show", "s2-10m").stdout)
    assert card["halo_px"] == 152
    assert card["channels"][3] == {"name": "B08", "wavelength_nm": 832.8}


def test_help_is_light() -> None:
    """No torch, rasterio, xarray or dask is imported for --help."""
    code = (
        "import sys; from click.testing import CliRunner; from geodecloud.cli.commands import main\n"
        "for args in (['--help'], ['run', '-h'], ['--version']):\n"
        "    assert CliRunner().invoke(main, args).exit_code == 0\n"
        "print([m for m in ('torch', 'rasterio', 'xarray', 'dask', 'numpy', 'tqdm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_keeps_its_lines() -> None:
    assert "geodecloud batch FOLDER --out-dir DIR     all scenes" in invoke("--help").stdout
    assert "\\b" not in invoke("--help").stdout


def test_defaults_of_the_process_hold(scene: Path, tmp_path: Path) -> None:
    """An option that is not given is no option of the user's."""
    with geodecloud.config.set(model="identity", strict=True):
        said = json.loads(invoke(scene, "--out", tmp_path / "a.tif", "--json").stdout)
        asked = json.loads(
            invoke(scene, "--out", tmp_path / "b.tif", "--model", "s2-10m", "--json").stdout
        )
    assert (said["model"], asked["model"]) == ("identity", "s2-10m")
    with rasterio.open(tmp_path / "b.tif") as src:
        assert json.loads(src.tags()["GEODECLOUD_PARAMETERS"])["strict"] is True


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        (
            "https://store.example/a/scene.tif?sig=SECRET&se=2026",
            "https://store.example/a/scene.tif",
        ),
        ("/vsicurl/https://store.example/s.tif?sig=SECRET", "/vsicurl/https://store.example/s.tif"),
        ("of 2 minds?.tif", "of 2 minds?.tif"),  # a file may have such a name
    ],
)
def test_signatures_of_addresses_stay_private(path: str, kept: str) -> None:
    """The name goes into a tag of the result, addresses of masks into its parameters."""
    assert without_query(path) == kept
    assert name_of(path) == kept.rpartition("/")[2]


def test_no_name_of_the_input_is_written_over(scene: Path) -> None:
    before = scene.read_bytes()
    result = invoke(scene.as_uri(), "--out", scene, "--model", "identity", "--overwrite")
    assert result.exit_code == 1
    assert "named twice" in result.stderr
    assert scene.read_bytes() == before


def test_targets_are_guarded(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    out.write_text("mine")
    result = invoke(scene, "--out", out)
    assert (result.exit_code, out.read_text()) == (1, "mine")
    assert "--overwrite" in result.stderr
    assert invoke(scene, "--out", out, "--overwrite", "--model", "identity").exit_code == 0
    assert rasterio.open(out).count == 4
    assert "named twice" in invoke(scene, "--out", scene, "--overwrite").stderr
    assert "named twice" in invoke(scene, "--out", out, "--overwrite", "--cloud-map", out).stderr
    assert "does not exist" in invoke(scene, "--out", tmp_path / "no" / "out.tif").stderr
    assert "is a folder" in invoke(scene, "--out", tmp_path).stderr


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder that even root cannot write")
def test_no_write_permission(scene: Path) -> None:
    result = invoke(scene, "--out", "/proc/out.tif")
    assert result.exit_code == 1
    assert "/proc cannot be written to" in result.stderr


def test_unknown_radiometry_is_asked_for(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "i.tif", textured_dn(4, 20, 20).astype(np.int32))
    result = invoke(path, "--out", tmp_path / "out.tif")
    assert result.exit_code == 1
    assert "--scale" in result.stderr
    assert invoke(path, "--out", tmp_path / "out.tif", "--scale", "0.0001").exit_code == 0


@pytest.mark.parametrize(
    "where",
    [
        "geodecloud.scene.metadata.Metadata.write_to",  # the raw file has just been made
        "geodecloud.compute.engine.Threads.store",
        "geodecloud.raster.staging.Staging.finish",
        "geodecloud.raster.staging.find_difference",
        "geodecloud.raster.staging.Staging.publish",
    ],
)
def test_interrupt_leaves_nothing(
    where: str, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupted)
    before = set(tmp_path.iterdir())
    result = invoke(scene, "--out", tmp_path / "out.tif")
    assert result.exit_code == 130
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_to_a_real_process_leave_nothing(sign: int, code: int, tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "big.tif", textured_dn(4, 700, 800))
    command = [sys.executable, "-m", "geodecloud", str(scene), "--out", str(tmp_path / "out.tif")]
    command += ["--window", "128"]  # many, and each is soon done
    before = set(tmp_path.iterdir())
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_while(process, lambda: not written(tmp_path, ".out.tif.*/raw/*.tif"))
    process.send_signal(sign)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert set(tmp_path.iterdir()) == before


@pytest.mark.skipif(
    sys.platform == "win32", reason="Windows keeps a folder in which somebody works"
)
def test_a_working_folder_that_is_gone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    done = invoke("scene.tif", "--out", "clear.tif")
    assert done.exit_code == 1
    assert done.stderr == "Error: the working folder is gone; cd to one that exists\n"
