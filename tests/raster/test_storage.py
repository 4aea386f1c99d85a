"""Object stores and web addresses, on a server of its own on the loopback address."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from click.testing import CliRunner, Result
from conftest import write_raster

import geodecloud
from geodecloud.cli.commands import main

boto3 = pytest.importorskip("boto3")
pytest.importorskip("moto.server")


class Store:
    """An S3 server with one bucket, and what it was asked for."""

    def __init__(self, address: str, log: Path) -> None:
        self.address, self.log = address, log
        self.client = boto3.client(
            "s3",
            endpoint_url=address,
            region_name="us-east-1",
            aws_access_key_id="id",
            aws_secret_access_key="secret",
        )

    def names(self) -> list[str]:
        """Names of all objects."""
        listed = self.client.list_objects_v2(Bucket="scenes").get("Contents", [])
        return sorted(entry["Key"] for entry in listed)

    def read(self, key: str, path: Path) -> np.ndarray:
        """Pixels of an object, by way of boto3 and a local file."""
        self.client.download_file("scenes", key, str(path))
        with rasterio.open(path) as src:
            return src.read()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """In a process of its own: GDAL holds Python's lock while it waits for an answer."""
    log = tmp_path_factory.mktemp("store") / "log.txt"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with open(log, "w") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        yield Store(f"http://127.0.0.1:{port}", log)
        process.kill()


@pytest.fixture
def store(running: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_S3_ENDPOINT": running.address.removeprefix("http://"),
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }.items():
        monkeypatch.setenv(name, value)
    running.client.create_bucket(Bucket="scenes")
    yield running
    for key in running.names():
        running.client.delete_object(Bucket="scenes", Key=key)


@pytest.fixture
def cog(scene: Path, tmp_path: Path) -> Path:
    rasterio.shutil.copy(scene, tmp_path / "cog.tif", driver="COG", BLOCKSIZE=128)
    return tmp_path / "cog.tif"


def invoke(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_from_a_store_to_a_store(store: Store, cog: Path, toy_model: Path, tmp_path: Path) -> None:
    store.client.upload_file(str(cog), "scenes", "in/a.tif")
    options = ("--model", toy_model, "--out")
    done = invoke("s3://scenes/in/a.tif", *options, "s3://scenes/out/a.tif")
    assert (done.exit_code, done.stdout.strip()) == (0, "s3://scenes/out/a.tif"), done.stderr
    assert store.names() == ["in/a.tif", "out/a.tif"]
    assert invoke(cog, *options, tmp_path / "local.tif").exit_code == 0
    with rasterio.open(tmp_path / "local.tif") as src:
        np.testing.assert_array_equal(store.read("out/a.tif", tmp_path / "back.tif"), src.read())


def test_side_files_go_to_a_store_too(store: Store, tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "imd.tif", np.ones((1, 30, 40), np.uint8))
    with rasterio.open(scene, "r+") as dst:
        dst.update_tags(ns="IMD", satId="WV02")
    done = invoke(scene, "--model", "identity", "--out", "s3://scenes/out/a.tif")
    assert done.exit_code == 0, done.stderr
    assert store.names() == ["out/a.IMD", "out/a.tif"]
    with rasterio.open("s3://scenes/out/a.tif") as src:
        assert src.tags(ns="IMD") == {"satId": "WV02"}


def test_only_ranges_are_read(store: Store, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(1, 9000, (4, 1500, 1500), dtype=np.uint16)
    raw = write_raster(tmp_path / "raw.tif", noise)
    rasterio.shutil.copy(raw, tmp_path / "big.tif", driver="COG", BLOCKSIZE=256)
    store.client.upload_file(str(tmp_path / "big.tif"), "scenes", "big.tif")
    lazy = geodecloud.open_scene("s3://scenes/big.tif", 256)
    clear = lazy.geodecloud.remove_clouds(model="identity")
    np.testing.assert_array_equal(clear[:, :9, :9], noise[:, :9, :9])
    reads = [line for line in store.log.read_text().splitlines() if "GET /scenes/big.tif" in line]
    assert reads
    assert all(" 206 " in re.sub("\x1b\\[[0-9]*m", "", line) for line in reads)  # never all of it


def test_from_the_web(store: Store, cog: Path, toy_model: Path, tmp_path: Path) -> None:
    store.client.upload_file(str(cog), "scenes", "web.tif", {"ACL": "public-read"})
    address = f"{store.address}/scenes/web.tif"
    out = tmp_path / "out.tif"
    done = invoke(address, "--model", toy_model, "--out", out)
    assert done.exit_code == 0, done.stderr
    assert invoke(cog, "--model", toy_model, "--out", tmp_path / "local.tif").exit_code == 0
    with rasterio.open(out) as web, rasterio.open(tmp_path / "local.tif") as local:
        np.testing.assert_array_equal(web.read(), local.read())
    refused = invoke(cog, "--model", toy_model, "--out", f"{store.address}/scenes/no.tif")
    assert refused.exit_code == 1
    assert "outputs are local files or objects of a store (s3://" in refused.stderr


def one_message(done: Result, *words: str) -> None:
    assert done.exit_code == 1
    assert done.stderr.count("Error") == 1
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_missing_bucket_and_object(store: Store, cog: Path, toy_model: Path) -> None:
    options = ("--model", toy_model, "--out")
    done = invoke(cog, *options, "s3://nothing-here/out.tif")
    one_message(done, "s3://nothing-here/out.tif cannot be written", "Does the bucket exist")
    done = invoke("s3://nothing-there/in.tif", *options, "s3://scenes/out.tif")
    one_message(done, "s3://nothing-there/in.tif", "bucket does not exist")
    done = invoke("s3://scenes/missing.tif", *options, "s3://scenes/out.tif")
    one_message(done, "missing.tif", "does not exist")
    assert store.names() == []


def test_wrong_credentials(
    store: Store, cog: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    store.client.upload_file(str(cog), "scenes", "private.tif")
    requests.post(f"{store.address}/moto-api/reset-auth", data=b"0", timeout=10)
    try:
        options = ("--model", toy_model, "--out")
        done = invoke(cog, *options, "s3://scenes/refused.tif")
        one_message(done, "s3://scenes/refused.tif cannot be written", "AWS_ACCESS_KEY_ID")
        done = invoke("s3://scenes/private.tif", *options, "s3://scenes/refused.tif")
        one_message(done, "s3://scenes/private.tif cannot be opened")
    finally:
        requests.post(f"{store.address}/moto-api/reset-auth", data=b"inf", timeout=10)
    assert store.names() == ["private.tif"]


def test_an_object_is_whole_or_not_there(
    store: Store, cog: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.client.put_object(Bucket="scenes", Key="kept.tif", Body=cog.read_bytes())
    done = invoke(cog, "--model", toy_model, "--out", "s3://scenes/kept.tif")
    one_message(done, "give --overwrite")
    copies: list[str] = []
    copyfiles = rasterio.shutil.copyfiles

    def interrupted(src: str, dst: str) -> None:
        copies.append(dst)
        if len(copies) > 1:
            raise KeyboardInterrupt
        copyfiles(src, dst)

    monkeypatch.setattr(rasterio.shutil, "copyfiles", interrupted)
    options = ("--model", "identity", "--overwrite", "--out")
    done = invoke(cog, *options, "s3://scenes/kept.tif")
    assert done.exit_code == 130
    assert store.names() == ["kept.tif"]
    body: Any = store.client.get_object(Bucket="scenes", Key="kept.tif")["Body"]
    assert body.read() == cog.read_bytes()
