from __future__ import annotations

from pathlib import Path

import pytest

from binas_deploy.errors import EnvironmentFault, InputError
from binas_deploy.workspace import FOLDERS, builtin_folder, find_workspace, init_workspace


def test_the_folder_given_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "devices").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_workspace(Path("elsewhere")) == tmp_path / "elsewhere"


def test_the_nearest_parent_with_devices_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "devices").mkdir()
    inner = tmp_path / "inner"
    (inner / "devices").mkdir(parents=True)
    (inner / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(inner / "a" / "b")
    assert find_workspace(None) == inner
    monkeypatch.chdir(tmp_path)
    assert find_workspace(None) == tmp_path


def test_without_any_it_is_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "devices").write_text("a file is no workspace", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert find_workspace(None) == tmp_path


def test_a_file_is_refused_as_workspace(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match="give a folder"):
        find_workspace(file)


def test_a_current_folder_that_is_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> Path:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "cwd", gone)
    with pytest.raises(EnvironmentFault, match="no longer exists"):
        find_workspace(None)


def test_init_makes_the_folders_and_a_device(tmp_path: Path) -> None:
    target = tmp_path / "new"
    made = init_workspace(target)
    assert made == (target, *(target / name for name in FOLDERS), target / "devices" / "cpu.toml")
    text = (target / "devices" / "cpu.toml").read_text(encoding="utf-8")
    assert text.startswith("# A copy of the built-in device 'cpu'")
    assert text.endswith((builtin_folder("devices") / "cpu.toml").read_text(encoding="utf-8"))


def test_the_copied_device_loads(tmp_path: Path) -> None:
    from binas_deploy.devices import device_files, load_device_spec

    init_workspace(tmp_path)
    assert device_files(tmp_path)["cpu"] == tmp_path / "devices" / "cpu.toml"
    assert load_device_spec("cpu", tmp_path) == load_device_spec("cpu")


def test_init_changes_nothing_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "cpu.toml").write_text("mine", encoding="utf-8")
    assert init_workspace(tmp_path) == (tmp_path / "latency_tables", tmp_path / "export")
    assert (tmp_path / "devices" / "cpu.toml").read_text(encoding="utf-8") == "mine"
    assert init_workspace(tmp_path) == ()


def test_init_refuses_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "export").touch()
    with pytest.raises(InputError, match=r"export is a file"):
        init_workspace(tmp_path)


def test_init_below_a_file_is_an_environment_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match="a part of the path is a file"):
        init_workspace(tmp_path / "file" / "workspace")


def test_builtin_folder_prefers_what_a_wheel_carries(tmp_path: Path) -> None:
    package = tmp_path / "binas_deploy"
    (package / "_data" / "devices").mkdir(parents=True)
    (tmp_path / "devices").mkdir()
    (tmp_path / "pyproject.toml").touch()
    assert builtin_folder("devices", package) == package / "_data" / "devices"


def test_builtin_folder_in_a_checkout_is_the_root_folder(tmp_path: Path) -> None:
    (tmp_path / "latency_tables").mkdir()
    (tmp_path / "pyproject.toml").touch()
    assert builtin_folder("latency_tables", tmp_path / "binas_deploy") == tmp_path / "latency_tables"


def test_a_folder_of_someone_else_beside_the_package_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "devices").mkdir()
    with pytest.raises(EnvironmentFault, match="Install binas-deploy again"):
        builtin_folder("devices", tmp_path / "binas_deploy")
