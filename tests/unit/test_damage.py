"""Ten kinds of damage to a bundle: each is refused clearly, by `verify` and by `load`, and nothing is executed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner

import binas_deploy
from binas_deploy.adapters.onnxruntime.device import OnnxRuntimeDevice
from binas_deploy.bundle.manifest import MANIFEST_NAME, MODEL_NAME, VERIFICATION_NAME, Manifest
from binas_deploy.cli.main import cli
from binas_deploy.documents import seal, write_document
from binas_deploy.errors import EXIT_USAGE, DocumentError
from binas_deploy.search_result import SearchResult
from binas_deploy.table import LatencyTable
from binas_deploy.testing.bundles import write_bundle
from binas_deploy.testing.fake_device import FakeDevice

pytestmark = pytest.mark.usefixtures("fake_adapter", "fake_device_file")
Bundle = tuple[Path, Manifest]
Damage = Callable[[Path, Path], object]
"""What is done to a bundle; the second folder is another, whole one."""


def resealed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """The manifest changed by someone who knows the format, so that its digest holds."""
    path = folder / MANIFEST_NAME
    content = json.loads(path.read_text())
    change(content)
    rest = {key: value for key, value in content.items() if key not in ("format", "version", "digest")}
    write_document(path, seal("bundle-manifest", 1, rest))


def flip_weight(folder: Path, _: Path) -> None:
    model = onnx.load(folder / MODEL_NAME)
    payload, weights = bytearray((folder / MODEL_NAME).read_bytes()), model.graph.initializer[0].raw_data
    payload[payload.index(weights[:64]) + 2] ^= 1
    (folder / MODEL_NAME).write_bytes(payload)


def state_wrong_hash(folder: Path, _: Path) -> None:
    resealed(folder, lambda content: content["files"][MODEL_NAME].update(sha256="0" * 64))


def swap_model(folder: Path, other: Path) -> None:
    (folder / MODEL_NAME).write_bytes((other / MODEL_NAME).read_bytes())


def remove_file(folder: Path, _: Path) -> None:
    (folder / MODEL_NAME).unlink()


def edit_manifest(folder: Path, _: Path) -> None:
    path = folder / MANIFEST_NAME
    path.write_text(path.read_text().replace('"statistic": "median"', '"statistic": "p25"'))


def make_newer(folder: Path, _: Path) -> None:
    path = folder / MANIFEST_NAME
    content = json.loads(path.read_text())
    rest = {key: value for key, value in content.items() if key not in ("format", "version", "digest")}
    write_document(path, seal("bundle-manifest", 2, rest))


def save_with_other_opset(folder: Path, _: Path) -> None:
    model = onnx.load(folder / MODEL_NAME)
    model.opset_import[0].version = 18
    onnx.checker.check_model(model)
    onnx.save(model, folder / MODEL_NAME)


def name_a_path(folder: Path, other: Path) -> None:
    name = f"../{other.name}/{MODEL_NAME}"

    def change(content: dict[str, Any]) -> None:
        content["files"][name] = content["files"].pop(MODEL_NAME)
        content["formats"]["onnx"]["files"] = [name]

    resealed(folder, change)


def link_out(folder: Path, _: Path) -> None:
    outside = folder.parent / "elsewhere.onnx"
    (folder / MODEL_NAME).rename(outside)
    (folder / MODEL_NAME).symlink_to(outside)


def state_huge_size(folder: Path, _: Path) -> None:
    resealed(folder, lambda content: content["files"][MODEL_NAME].update(bytes=2**60))


DAMAGES: dict[str, tuple[Damage, str]] = {
    "flipped weight byte": (flip_weight, r"model\.onnx: SHA-256 .* changed or damaged"),
    "wrong hash": (state_wrong_hash, r"the manifest states 000000000000\.\.\."),
    "swapped model": (swap_model, r"model\.onnx: .* the manifest states"),
    "missing file": (remove_file, r"model\.onnx: missing, the manifest states it"),
    "edited manifest": (edit_manifest, "does not match its digest"),
    "newer version": (make_newer, "written in version 2 .* Upgrade binas-deploy"),
    "other opset": (save_with_other_opset, r"model\.onnx: SHA-256 .* changed or damaged"),
    "path traversal in a name": (name_a_path, "should match pattern"),
    "symlink out of the bundle": (link_out, "is a link that leads out of the bundle"),
    "huge declared size": (state_huge_size, "bytes; from 1 to 2147483648 are allowed"),
}


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything that a runtime was given to compile or load."""
    found: list[str] = []

    def watched(owner: type[Any], method: str) -> None:
        original = getattr(owner, method)

        def call(*arguments: Any, **named: Any) -> Any:
            found.append(f"{owner.__name__}.{method}")
            return original(*arguments, **named)

        monkeypatch.setattr(owner, method, call)

    for owner in (FakeDevice, OnnxRuntimeDevice):
        watched(owner, "compile")
        watched(owner, "load")
    return found


@pytest.fixture
def other(searched: Callable[[float], SearchResult], fake_table: LatencyTable, tmp_path: Path) -> Path:
    folder = tmp_path / "export" / "other"
    write_bundle(folder, searched(0.9), fake_table, seed=1)
    return folder


def verified(folder: Path, workspace: Path) -> tuple[int, str]:
    words = ["verify", str(folder), "--workspace", str(workspace), "--no-accuracy", "--quiet"]
    result = CliRunner().invoke(cli, words, prog_name="binas-deploy")
    return result.exit_code, result.stderr


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES.keys())
def test_verify_refuses_it(
    bundle: Bundle, other: Path, executed: list[str], tmp_path: Path, damage: Damage, message: str
) -> None:
    folder, _ = bundle
    damage(folder, other)
    code, said = verified(folder, tmp_path)
    assert code == EXIT_USAGE
    assert re.search(message, said), said
    assert executed == []
    assert not (folder / VERIFICATION_NAME).exists()


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES.keys())
def test_load_refuses_it(bundle: Bundle, other: Path, executed: list[str], damage: Damage, message: str) -> None:
    folder, _ = bundle
    damage(folder, other)
    with pytest.raises(DocumentError, match=message):
        binas_deploy.load(folder)
    assert executed == []


def test_the_whole_bundle_is_executed_by_both(bundle: Bundle, executed: list[str], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    folder, _ = bundle
    with binas_deploy.load(folder):
        assert executed == ["OnnxRuntimeDevice.load"]
    executed.clear()
    assert verified(folder, tmp_path)[0] == 4  # simulated
    assert "FakeDevice.load" in executed
