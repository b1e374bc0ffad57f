"""Bundles as they are committed in a git revision, taken out into a folder of their own.

Anyone may have committed them, so names, kinds and sizes are checked from the tree before a byte is written, and bytes
are written under names that passed, by this module and not by an archive's own. git is run by lists of words, no shell.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from binas_deploy.bundle.manifest import MANIFEST_NAME
from binas_deploy.documents import os_reason, shown, writing
from binas_deploy.errors import DocumentError, EnvironmentFault, InputError

MAIN_BRANCHES: Final = ("origin/HEAD", "origin/main", "main", "master")
"""Where the main branch is looked for, in this order."""
MOST_FILES: Final = 500
MOST_BYTES: Final = 4 * 2**30
_DEEPEST: Final = 4
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")
_PLAIN_MODES: Final = ("100644", "100755")
_SECONDS: Final = 300
_LFS: Final = b"version https://git-lfs.github.com/spec/"
_SHORT: Final = 10


@dataclass(frozen=True)
class Revision:
    """A commit, and how people call it."""

    commit: str
    text: str


@dataclass(frozen=True)
class Entry:
    """A file of a tree: its parts below the folder that was listed, its mode, object and size in bytes."""

    parts: tuple[str, ...]
    mode: str
    blob: str
    bytes: int


def resolve(folder: Path, given: str | None) -> Revision:
    """The revision ``given``, by default the merge-base of what is checked out with the main branch.

    Raises:
        InputError: no repository, no such revision, or no main branch that could be found.
        EnvironmentFault: git is not installed.
    """
    if given is not None:
        commit = _commit(folder, given)
        if commit is None:
            raise InputError(f"--against {given}: is neither a folder nor a git revision that is there. {_FETCH}")
        return Revision(commit, f"{given} ({commit[:_SHORT]})")
    for branch in MAIN_BRANCHES:
        if (tip := _commit(folder, branch)) is not None:
            return _merge_base(folder, branch, tip)
    raise InputError(
        f"no --against given, and none of {', '.join(MAIN_BRANCHES)} is a revision of the repository at {folder}. "
        f"Name one. {_FETCH}"
    )


_FETCH: Final = "A shallow clone does not have it: fetch it first (actions/checkout: fetch-depth: 0)."


def committed(folder: Path, revision: Revision) -> dict[str, tuple[Entry, ...]]:
    """The files of each bundle that ``revision`` has in ``folder``, by the bundle's name; nothing is checked yet.

    Raises:
        InputError: the folder is in no repository.
    """
    listed = _git(folder, "ls-tree", "-r", "-z", "--long", revision.commit)
    found: dict[str, list[Entry]] = {}
    for line in listed.split(b"\0"):
        if line:
            entry = _entry(line)
            found.setdefault(entry.parts[0], []).append(entry)
    return {name: tuple(rows) for name, rows in found.items() if any(_is_manifest(row) for row in rows)}


def extract(folder: Path, entries: Sequence[Entry], target: Path) -> Path:
    """Write the files of one bundle below ``target``; returns the bundle's folder.

    Raises:
        DocumentError: a name, a kind of file or a size that no bundle has, or the pointer of a file kept elsewhere.
        EnvironmentFault: the disk refuses.
    """
    for entry in entries:
        _require_plain(entry)
    if len(entries) > MOST_FILES or sum(entry.bytes for entry in entries) > MOST_BYTES:
        raise DocumentError(
            f"{entries[0].parts[0]}: more than {MOST_FILES} files or {MOST_BYTES >> 30} GiB; no bundle."
        )
    for entry in entries:
        path = target.joinpath(*entry.parts)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as stream:
                _run(folder, ("cat-file", "blob", entry.blob), stdout=stream.fileno())
        _require_content(path, entry)
    return target / entries[0].parts[0]


def _merge_base(folder: Path, branch: str, tip: str) -> Revision:
    found = _run(folder, ("merge-base", "HEAD", tip))
    if found.returncode:
        raise InputError(f"what is checked out has no ancestor in common with {branch}. Name a revision. {_FETCH}")
    commit = found.stdout.decode().strip()
    return Revision(commit, f"the merge-base with {branch} ({commit[:_SHORT]})")


def _commit(folder: Path, name: str) -> str | None:
    if name.startswith("-"):
        return None  # it would be an option
    found = _run(folder, ("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"))
    return found.stdout.decode().strip() if found.returncode == 0 else None


def _entry(line: bytes) -> Entry:
    stated, _, path = line.partition(b"\t")
    mode, _, blob, size = stated.decode("ascii").split()
    # Bytes that are no UTF-8 stay, as surrogates: no plain name has them.
    parts = tuple(path.decode("utf-8", "surrogateescape").split("/"))
    return Entry(parts, mode, blob, int(size) if size.isdigit() else 0)


def _is_manifest(entry: Entry) -> bool:
    return len(entry.parts) == 2 and entry.parts[1] == MANIFEST_NAME


def _require_plain(entry: Entry) -> None:
    name = shown("/".join(entry.parts))
    if len(entry.parts) > _DEEPEST or not all(map(_PLAIN_NAME.fullmatch, entry.parts)):
        raise DocumentError(f"the committed file {name} has a name that no bundle's file has; it is not taken out.")
    if entry.mode not in _PLAIN_MODES:
        kind = {"120000": "a link", "160000": "a submodule"}.get(entry.mode, f"of mode {entry.mode}")
        raise DocumentError(f"the committed file {name} is {kind}; a bundle has plain files only.")


def _require_content(path: Path, entry: Entry) -> None:
    with path.open("rb") as stream:
        if stream.read(len(_LFS)) == _LFS:
            raise DocumentError(
                f"{'/'.join(entry.parts)} is committed as a pointer of Git LFS, its bytes are elsewhere. Check out "
                "that revision with LFS and give its bundle's folder as --against."
            )
    if path.stat().st_size != entry.bytes:
        raise DocumentError(
            f"{'/'.join(entry.parts)}: git gave {path.stat().st_size} bytes, its tree states {entry.bytes}."
        )


def _git(folder: Path, *words: str) -> bytes:
    done = _run(folder, words)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise InputError(f"git {words[0]} in {folder}: {said[-1] if said else 'failed'}")
    return done.stdout


def _run(folder: Path, words: Sequence[str], stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
    command = ["git", "--no-pager", "--no-replace-objects", "--literal-pathspecs", *words]
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise EnvironmentFault(f"git is needed to compare with a revision: {os_reason(error)}.") from error
    except OSError as error:
        raise EnvironmentFault(f"cannot run git in {folder}: {os_reason(error)}.") from error
    except subprocess.TimeoutExpired as error:
        raise EnvironmentFault(f"git {words[0]} took longer than {_SECONDS} s.") from error


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Without what a hook's git says of another repository or working tree."""
    of_a_hook = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")
    return {key: value for key, value in variables.items() if key not in of_a_hook}
