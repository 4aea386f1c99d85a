"""What no code of this package does, and what files from others cannot make it do. SECURITY.md says it in words."""

from __future__ import annotations

import ast
import io
import json
import stat
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import textured_dn, write_raster

from geodecloud.batch.journal import Journal
from geodecloud.cli.commands import main
from geodecloud.cli.flags import shown
from geodecloud.errors import SceneError, WeightsError
from geodecloud.models.card import ModelCard
from geodecloud.models.catalogue import IDENTITY, read_card
from geodecloud.models.tensors import read_tensors
from geodecloud.raster.archives import rasters_in
from geodecloud.raster.temporaries import part_folder

PACKAGE = Path(__file__).parents[1] / "geodecloud"
#: Parses what GDAL has just written itself, by parsers of Python that know entities.
OF_GDAL = {"raster/side_files.py", "scene/side_facts.py", "scene/tags.py"}
#: Runs code, starts programs, or opens connections.
FORBIDDEN = {
    *(
        "eval",
        "exec",
        "compile",
        "__import__",
        "os.system",
        "os.popen",
        "pickle",
        "marshal",
        "shelve",
    ),
    *(
        "subprocess",
        "pty",
        "yaml.load",
        "requests",
        "urllib.request",
        "http.client",
        "socket.socket",
    ),
    *("dill", "cloudpickle", "joblib", "tarfile.TarFile.extractall", "zipfile.ZipFile.extractall"),
}


def modules() -> Iterator[tuple[str, ast.AST]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def used(tree: ast.AST) -> Iterator[str]:
    """Names of all that is imported, and of all that is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call):
            yield dotted(node.func)


def test_nothing_runs_what_it_reads() -> None:
    found = {
        f"{name}: {what}"
        for name, tree in modules()
        for what in used(tree)
        if what in FORBIDDEN
        or what.split(".")[0] in FORBIDDEN
        or what.endswith((".extractall", ".extract"))
    }
    assert found == set()
    shells = [
        name
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "shell"
    ]
    assert shells == []


def test_checkpoints_of_torch_are_loaded_as_weights_only() -> None:
    calls = [
        (name, {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords})
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and dotted(node.func) in ("torch.load", "load")
    ]
    assert [name for name, _ in calls] == ["models/weights.py"]
    assert calls[0][1]["weights_only"] == "True"


def test_xml_of_others_is_read_by_a_parser_without_entities() -> None:
    parsers = {
        name
        for name, tree in modules()
        for what in used(tree)
        if what.startswith(
            ("xml.etree.ElementTree.parse", "ElementTree.parse", "ElementTree.fromstring")
        )
        or what in ("xml.sax", "xml.dom.minidom", "lxml", "xml.etree.ElementTree.fromstring")
    }
    assert parsers == OF_GDAL


class Harm:
    """What a pickle can do when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("harm",)


def test_a_pickle_in_a_checkpoint_does_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch

    path, out = tmp_path / "spa.pth", tmp_path / "spa.safetensors"
    torch.save({"weights": Harm()}, path)
    torch.load(path, weights_only=False)
    assert "harm" in capfd.readouterr().out  # so it would have
    result = CliRunner().invoke(main, ["models", "import", str(path), "--out", str(out)])
    assert result.exit_code == 1
    assert "is not a torch checkpoint that holds weights and nothing else" in result.stderr
    assert "harm" not in capfd.readouterr().out
    assert not out.exists()


@pytest.mark.parametrize("claimed", [10**11, 2**63, 2**64 - 1])
def test_a_header_that_claims_to_be_long_is_not_read(claimed: int, tmp_path: Path) -> None:
    path = tmp_path / "long.safetensors"
    path.write_bytes(struct.pack("<Q", claimed) + b'{"__metadata__": {}}')
    with pytest.raises(WeightsError, match=f"its header claims {claimed} bytes"):
        read_card(path)
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        read_tensors(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cloud_threshold": 10**400},
        {"cloud_threshold": "0.1"},
        {"name": ["a"]},
        {"halo_px": 1.5},
        {"optional": [{}]},
        {"channels": [{"name": 3}]},
        {"has_cloud_map": "yes"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_card_of_other_types_is_refused(wrong: dict[str, object]) -> None:
    card = json.loads(IDENTITY.to_json())
    assert ModelCard.from_json(json.dumps(card)) == IDENTITY
    with pytest.raises(WeightsError, match="the model card cannot be read"):
        ModelCard.from_json(json.dumps(card | wrong))


def test_brackets_within_brackets_are_refused(tmp_path: Path) -> None:
    deep = "[" * 100_000
    with pytest.raises(WeightsError, match="the model card cannot be read"):
        ModelCard.from_json(deep)
    journal = Journal(tmp_path)
    journal.folder.mkdir()
    (journal.folder / "a.json").write_text(deep)
    assert journal.read("a") is None


@pytest.mark.parametrize("name", ["../a.tif", "/a.tif", "b/../../a.tif", "..\\a.tif", "C:\\a.tif"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_keep_to_themselves(kind: str, name: str, tmp_path: Path) -> None:
    inside = write_raster(tmp_path / "a.tif", textured_dn(1, 8, 8)).read_bytes()
    path = tmp_path / "in" / f"a.{kind}"
    path.parent.mkdir()
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, inside)
    else:
        with tarfile.open(path, "w") as tar:
            entry = tarfile.TarInfo(name)
            entry.size = len(inside)
            tar.addfile(entry, io.BytesIO(inside))
    with pytest.raises(SceneError, match="points out of the archive"):
        rasters_in(path)


@pytest.mark.parametrize("absolute", [True, False])
def test_a_journal_from_elsewhere_removes_nothing_outside(absolute: bool, tmp_path: Path) -> None:
    """It says that the batch has written a scene itself, which is not among its results any more."""
    scenes, out = tmp_path / "scenes", tmp_path / "out"
    scenes.mkdir()
    scene = write_raster(scenes / "a.tif", textured_dn(4, 20, 20))
    words = ["batch", str(scenes), "--out-dir", str(out), "--model", "identity", "-q"]
    assert CliRunner().invoke(main, words).exit_code == 0
    record = out / ".geodecloud" / "a.json"
    said, look = json.loads(record.read_text()), scene.stat()
    name = str(scene) if absolute else "../scenes/a.tif"
    said["outputs"][name] = [look.st_size, look.st_mtime_ns]
    record.write_text(json.dumps(said | {"made_from": "other"}))
    before = scene.read_bytes()
    CliRunner().invoke(main, [*words, "--overwrite"])
    assert scene.read_bytes() == before


def test_names_do_nothing_to_a_terminal(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "a.tif", textured_dn(4, 20, 20))
    bad = tmp_path / "\x1b[2J\u202egone.tif"
    result = CliRunner().invoke(main, [str(bad), "--out", str(tmp_path / "b.tif")])
    assert "\\x1b[2J\\u202egone.tif does not exist" in result.stderr
    assert "\x1b" not in result.stderr
    scene.rename(bad)
    told = CliRunner().invoke(main, ["info", str(bad), "--model", "identity"]).stdout
    assert told
    assert "\x1b" not in told
    assert "\u202e" not in told


def test_lines_of_messages_end() -> None:
    assert shown("a\ud800b") == "a\\ud800b"
    assert shown("a" * 4000 + "\nb") == "a" * 4000 + "\nb"
    assert shown("a" * 100_000 + "\nb") == "a" * 4000 + "…\nb"


def test_what_lies_where_others_read_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with part_folder(tmp_path / "upload.tif") as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    beside = tmp_path / "results"
    beside.mkdir()
    with part_folder(beside / "clear.tif") as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(beside.stat().st_mode)
