"""The built-in files are found in a checkout and in a wheel alike."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READ = """
from binas_deploy.workspace import builtin_folder
print(builtin_folder("devices") / "cpu.toml", builtin_folder("latency_tables"), sep="\\n")
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout, unpacked as an installer would."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*build, "--wheel-dir", str(folder), str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def _folders(package_parent: Path, cwd: Path) -> list[Path]:
    done = subprocess.run(
        [sys.executable, "-c", READ],
        capture_output=True,
        text=True,
        check=True,
        cwd=cwd,
        env={"PYTHONPATH": str(package_parent)},
    )
    return [Path(line) for line in done.stdout.splitlines()]


def test_the_same_device_is_read_both_ways(unpacked: Path, tmp_path: Path) -> None:
    in_checkout, tables_in_checkout = _folders(ROOT, tmp_path)
    in_wheel, tables_in_wheel = _folders(unpacked, tmp_path)
    assert in_checkout == ROOT / "devices" / "cpu.toml"
    assert in_wheel == unpacked / "binas_deploy" / "_data" / "devices" / "cpu.toml"
    assert in_wheel.read_bytes() == in_checkout.read_bytes()
    carried = {path.relative_to(tables_in_wheel) for path in tables_in_wheel.rglob("*.json")}
    assert carried == {path.relative_to(tables_in_checkout) for path in tables_in_checkout.rglob("*.json")}


def test_spaces_and_type_marker_are_in_the_wheel(unpacked: Path) -> None:
    package = unpacked / "binas_deploy"
    assert (package / "py.typed").is_file()
    assert {path.name for path in (package / "spaces").iterdir()} >= {"cifar10.toml", "mobilenetv3.toml"}
    zoo = {path.relative_to(ROOT) for path in (ROOT / "binas_deploy" / "zoo").rglob("*") if path.is_file()}
    assert all((unpacked / path).is_file() for path in zoo)
