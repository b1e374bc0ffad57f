"""Versioned JSON documents with a digest, written atomically.

A document is one JSON object: ``{"format", "version", "digest", ...content}``. The digest is the
SHA-256 of the canonical content (sorted keys, no spaces, without the digest itself), so a file that
was edited by hand or cut short is noticed when it is read.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from binas_deploy.errors import DocumentError, EnvironmentFault, InputError

MAX_DOCUMENT_BYTES: Final = 64 * 2**20
_PREFIX: Final = "binas-deploy/"
_SHOWN: Final = 80


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the canonical JSON text of ``content``, its 'digest' key left out."""
    bare = {key: value for key, value in content.items() if key != "digest"}
    text = json.dumps(bare, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def timestamp() -> str:
    """The time now, as documents state it: ISO 8601 with the offset from UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def seal(kind: str, version: int, content: Mapping[str, Any]) -> dict[str, Any]:
    """``content`` as a complete document of format ``binas-deploy/<kind>``."""
    body = {"format": _PREFIX + kind, "version": version, **content}
    return {"format": body["format"], "version": version, "digest": digest(body), **content}


def dump_text(document: Mapping[str, Any]) -> str:
    """JSON text with one line for each entry of a top-level container, so that diffs read well."""
    lines = [f"{json.dumps(key)}: {_container(value)}" for key, value in document.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _container(value: Any) -> str:
    if isinstance(value, Mapping) and value:
        rows = [f"  {json.dumps(str(key))}: {json.dumps(item, allow_nan=False)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + "\n}"
    if isinstance(value, list) and value and isinstance(value[0], (Mapping, list)):
        return "[\n" + ",\n".join(f"  {json.dumps(item, allow_nan=False)}" for item in value) + "\n]"
    return json.dumps(value, allow_nan=False)


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write a sealed document atomically.

    Raises:
        EnvironmentFault: no permission, no space, or the folder cannot be made.
    """
    write_atomic(path, dump_text(document).encode())


def write_atomic(path: Path, payload: bytes) -> None:
    """Write to a temporary name beside ``path``, fsync, rename. A failure leaves the old file."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(payload)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Translate the operating system's refusals to write ``path`` into `EnvironmentFault`."""
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(f"cannot write {path}: {os_reason(error)}") from error


def read_document(path: Path, kind: str, version: int, *, verify: bool = True) -> dict[str, Any]:
    """Read and check a document of format ``binas-deploy/<kind>``, at most ``version``.

    Raises:
        InputError: no such file.
        DocumentError: not JSON, truncated, foreign, newer than this tool, or edited by hand.
        EnvironmentFault: it exists but cannot be read.
    """
    return check_document(_parse(path, _read_text(path, kind)), path, kind, version, verify=verify)


def check_document(document: Any, path: Path, kind: str, version: int, *, verify: bool = True) -> dict[str, Any]:
    """The checks of `read_document` on an object that is already parsed."""
    found = document.get("format") if isinstance(document, dict) else None
    if found != _PREFIX + kind:
        raise DocumentError(
            f"{path}: expected a document of format '{_PREFIX}{kind}', found {shown(found)}. Is this the right file?"
        )
    found_version = document.get("version")
    if not isinstance(found_version, int) or isinstance(found_version, bool) or found_version < 1:
        raise DocumentError(f"{path}: 'version' must be a positive integer, found {shown(found_version)}.")
    if found_version > version:
        raise DocumentError(
            f"{path}: written in version {shown(found_version)} of {kind}, this tool reads up to {version}. "
            "Upgrade binas-deploy."
        )
    if verify and not _digest_holds(document):
        raise DocumentError(
            f"{path}: the content does not match its digest: the file was edited by hand or damaged. "
            "Make it again, or restore it from version control."
        )
    return dict(document)


def _digest_holds(document: Mapping[str, Any]) -> bool:
    try:
        return document.get("digest") == digest(document)
    except (ValueError, RecursionError):  # NaN, an infinity or deep nesting, which no document of ours holds
        return False


def _read_text(path: Path, kind: str) -> str:
    try:
        if path.stat().st_size > MAX_DOCUMENT_BYTES:
            raise DocumentError(f"{path}: over {MAX_DOCUMENT_BYTES // 2**20} MiB; that is no {kind}.")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file (a {kind} was expected).") from error
    except UnicodeDecodeError as error:
        raise DocumentError(f"{path}: not a text file; a {kind} is JSON in UTF-8.") from error
    except OSError as error:
        raise EnvironmentFault(f"cannot read {path}: {os_reason(error)}") from error


def _parse(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"{path}: not complete JSON ({error}); the file is truncated or damaged.") from error


def validation_message(path: Path, error: Any) -> str:
    """One sentence for each finding of a pydantic ``ValidationError``: field path, value, what is allowed."""
    lines = []
    for item in error.errors():
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"]).lstrip(".")
        lines.append(f"{path}: {where or 'document'}: {item['msg']} (found {shown(item.get('input'))})")
    return "\n".join(lines)


def shown(value: object) -> str:
    """A value of a file as a message shows it: its `repr`, cut short."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits, or deep nesting
        return f"{type(value).__name__}, too large to show"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    hasher = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            for chunk in iter(lambda: stream.read(2**20), b""):
                hasher.update(chunk)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file.") from error
    except OSError as error:
        raise EnvironmentFault(f"cannot read {path}: {os_reason(error)}") from error
    return hasher.hexdigest()


def os_reason(error: OSError) -> str:
    """Why the operating system refused, in words that say what to do where that is known."""
    known = {
        errno.ENOSPC: "no space left on the device; free some and run the same command again",
        errno.EACCES: "permission denied; choose another place or change its permissions",
        errno.EPERM: "permission denied; choose another place or change its permissions",
        errno.EROFS: "the file system is read-only; choose another place",
        errno.ENOTDIR: "a part of the path is a file, not a folder",
    }
    return known.get(error.errno or 0, error.strerror or str(error))


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current
