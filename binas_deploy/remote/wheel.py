"""This package as a wheel for a device, made of what is installed here: a checkout and an installed wheel alike.

The agent needs the code alone, so trained weights and tables stay here. The version says which code it is: equal
content, equal version.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from binas_deploy import __version__
from binas_deploy.errors import EnvironmentFault

_PACKAGE: Final = Path(__file__).resolve().parents[1]
_DISTRIBUTION: Final = "binas-deploy"
_CARRIED: Final = (".py", ".toml", ".typed")
_LEFT_HERE: Final = ("zoo", "_data", "__pycache__")
_KEPT_FIELDS: Final = ("Requires-Python", "Requires-Dist", "Provides-Extra")
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_WHEEL: Final = "Wheel-Version: 1.0\nGenerator: binas-deploy\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_ENTRY: Final = "[console_scripts]\nbinas-deploy = binas_deploy.cli.main:main\n"


@dataclass(frozen=True)
class Wheel:
    """A wheel's file: its ``name``, ``version`` and bytes."""

    name: str
    version: str
    content: bytes


def agent_wheel() -> Wheel:
    """The wheel of the package that is running.

    Raises:
        EnvironmentFault: it is not installed, so what it depends on is not known.
    """
    files = {path.relative_to(_PACKAGE.parent).as_posix(): path.read_bytes() for path in _carried()}
    fields = _fields()
    told = hashlib.sha256(repr((sorted(files.items()), fields)).encode()).hexdigest()[:12]
    version = f"{__version__}+agent.{told}"
    info = f"binas_deploy-{version}.dist-info"
    metadata = "".join(
        f"{key}: {value}\n"
        for key, value in (("Metadata-Version", "2.1"), ("Name", _DISTRIBUTION), ("Version", version), *fields)
    )
    texts = {"METADATA": metadata, "WHEEL": _WHEEL, "entry_points.txt": _ENTRY}
    whole = {**files, **{f"{info}/{name}": text.encode() for name, text in texts.items()}}
    whole[f"{info}/RECORD"] = _record(whole, f"{info}/RECORD")
    return Wheel(f"binas_deploy-{version}-py3-none-any.whl", version, _zipped(whole))


def _carried() -> list[Path]:
    found = (path for path in _PACKAGE.rglob("*") if path.suffix in _CARRIED and path.is_file())
    return sorted(path for path in found if not set(path.relative_to(_PACKAGE).parts) & set(_LEFT_HERE))


def _fields() -> list[tuple[str, str]]:
    """What the installation says that the package needs."""
    try:
        metadata = importlib.metadata.metadata(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError as error:
        raise EnvironmentFault(
            "binas-deploy is not installed here, it only runs from its folder; what a device needs is not known. "
            "Install it with: pip install -e ."
        ) from error
    return [(key, value) for key in _KEPT_FIELDS for value in metadata.get_all(key) or ()]


def _record(files: dict[str, bytes], own: str) -> bytes:
    lines = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in files.items()]
    return ("\n".join([*lines, f"{own},,"]) + "\n").encode()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
