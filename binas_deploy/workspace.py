"""Workspaces: the folders ``devices/``, ``latency_tables/`` and ``export/`` that a user's work lives in."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from binas_deploy.documents import write_atomic, writing
from binas_deploy.errors import EnvironmentFault, InputError

BuiltinKind = Literal["devices", "latency_tables"]
FOLDERS: Final = ("devices", "latency_tables", "export")
_PACKAGE: Final = Path(__file__).resolve().parent
_DEVICE_HEADER: Final = """\
# A copy of the built-in device '{name}', yours to change: it is used instead of the built-in one.
# For another machine or other settings, copy this file under another name and change 'name' too.
# Delete it to return to the built-in one.
"""


def find_workspace(explicit: Path | None) -> Path:
    """The folder given, else the nearest parent of the current folder that holds ``devices/``, else the current one.

    It need not exist: whoever writes first makes it.

    Raises:
        InputError: what was given is a file.
        EnvironmentFault: the current folder is gone.
    """
    if explicit is not None:
        if explicit.is_file():
            raise InputError(f"--workspace {explicit} is a file; give a folder.")
        return explicit.absolute()
    here = _current_folder()
    return next((folder for folder in (here, *here.parents) if _is_folder(folder / "devices")), here)


def init_workspace(path: Path) -> tuple[Path, ...]:
    """Make the folders and a copy of the built-in device ``cpu`` under ``path``; what is there stays as it is.

    Returns:
        What was made, in order; empty when all was there.

    Raises:
        InputError: ``path`` or one of the folders is a file.
        EnvironmentFault: no permission or no space.
    """
    made = [folder for folder in (path, *(path / name for name in FOLDERS)) if _make_folder(folder)]
    device = path / "devices" / "cpu.toml"
    if not device.exists():
        write_atomic(device, _device_copy("cpu").encode())
        made.append(device)
    return tuple(made)


def builtin_folder(kind: BuiltinKind, package: Path = _PACKAGE) -> Path:
    """Where the devices or tables that ship with the tool lie: inside a wheel's package, else beside it in a checkout.

    ``package`` is the folder of the imported package.

    Raises:
        EnvironmentFault: neither is there; the installation is incomplete.
    """
    carried = package / "_data" / kind
    beside = package.parent / kind
    if carried.is_dir():
        return carried
    if beside.is_dir() and (package.parent / "pyproject.toml").is_file():
        return beside
    raise EnvironmentFault(
        f"the built-in {kind} are missing: neither {carried} nor {beside} exists. Install binas-deploy again."
    )


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise EnvironmentFault("the current folder no longer exists; change to another one.") from error


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a parent that may not be searched holds no workspace of ours
        return False


def _make_folder(path: Path) -> bool:
    if path.is_dir():
        return False
    if path.exists():
        raise InputError(
            f"{path} is a file; a workspace needs a folder of that name. Move it, or choose another place."
        )
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return True


def _device_copy(name: str) -> str:
    source = builtin_folder("devices") / f"{name}.toml"
    try:
        return _DEVICE_HEADER.format(name=name) + source.read_text(encoding="utf-8")
    except OSError as error:
        raise EnvironmentFault(f"cannot read the built-in device {source}: {error.strerror}.") from error
