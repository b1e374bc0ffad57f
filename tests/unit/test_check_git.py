"""Bundles out of git: what is found, and what hostile trees are refused for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from binas_deploy.errors import DocumentError, InputError
from binas_deploy.steps import check_git
from binas_deploy.steps.check_git import Revision, committed, extract, resolve


def git(folder: Path, *words: str, stdin: bytes = b"") -> str:
    names = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *names, *words], cwd=folder, input=stdin, capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A workspace with one bundle, committed on main."""
    git(tmp_path, "init", "-q", "-b", "main")
    bundle = tmp_path / "export" / "net"
    bundle.mkdir(parents=True)
    (bundle / "manifest.json").write_text("{}")
    (bundle / "model.onnx").write_bytes(bytes(range(256)))
    (tmp_path / "export" / "README.md").write_text("bundles\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "one")
    return tmp_path


def test_a_bundle_comes_out_as_it_was_committed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    export, target = repository / "export", tmp_path_factory.mktemp("out")
    (export / "net" / "model.onnx").write_bytes(b"changed since")
    found = committed(export, resolve(export, "main"))
    assert list(found) == ["net"]
    out = extract(export, found["net"], target)
    assert (out / "model.onnx").read_bytes() == bytes(range(256))
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "model.onnx"]


def test_the_default_is_the_merge_base_with_the_main_branch(repository: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    git(repository, "switch", "-q", "-c", "work")
    git(repository, "commit", "-q", "--allow-empty", "-m", "two")
    found = resolve(repository / "export", None)
    assert (found.commit, found.text) == (first, f"the merge-base with main ({first[:10]})")


def test_what_is_no_revision_is_said_so(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in ("nowhere", "--output=/tmp/x", ""):
        with pytest.raises(InputError, match="neither a folder nor a git revision"):
            resolve(repository, name)
    git(repository, "branch", "-m", "trunk")
    with pytest.raises(InputError, match="none of origin/HEAD, origin/main, main, master"):
        resolve(repository, None)
    with pytest.raises(InputError, match="none of origin/HEAD"):
        resolve(tmp_path_factory.mktemp("bare"), None)
    with pytest.raises(InputError, match="git ls-tree"):
        committed(repository, Revision("0" * 40, "gone"))


def hostile(repository: Path, mode: str, path: str, content: bytes = b"x") -> Revision:
    """A tree whose only bundle has one more entry: git itself would not add such a thing, but reads it."""
    blob = git(repository, "hash-object", "-w", "--stdin", stdin=content)
    manifest = git(repository, "rev-parse", "HEAD:export/net/manifest.json")
    tree = git(repository, "mktree", "-z", stdin=f"{mode} blob {blob}\t{path}\x00".encode("utf-8", "surrogateescape"))
    inner = f"100644 blob {manifest}\tmanifest.json\x0040000 tree {tree}\tsub\x00"
    if "/" not in path and mode != "100644":
        inner = f"100644 blob {manifest}\tmanifest.json\x00{mode} blob {blob}\t{path}\x00"
    net = git(repository, "mktree", "-z", stdin=inner.encode())
    export = git(repository, "mktree", "-z", stdin=f"040000 tree {net}\tnet\x00".encode())
    root = git(repository, "mktree", "-z", stdin=f"040000 tree {export}\texport\x00".encode())
    return Revision(root, "hostile")


@pytest.mark.parametrize("name", ["..", ".git", "-x", "a b", "new\nline", "C:x", "back\\slash", "\udcff", "a" * 200])
def test_a_name_that_no_bundle_has_is_refused(repository: Path, tmp_path: Path, name: str) -> None:
    entries = committed(repository / "export", hostile(repository, "100644", name))["net"]
    with pytest.raises(DocumentError, match="a name that no bundle's file has"):
        extract(repository / "export", entries, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("mode", "what"), [("120000", "a link")])
def test_what_is_no_plain_file_is_refused(repository: Path, tmp_path: Path, mode: str, what: str) -> None:
    entries = committed(repository / "export", hostile(repository, mode, "model.onnx", b"/etc/passwd"))["net"]
    with pytest.raises(DocumentError, match=f"is {what}"):
        extract(repository / "export", entries, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_much_and_pointers_are_refused(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export = repository / "export"
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
    entries = committed(export, hostile(repository, "100644", "model.onnx", pointer))["net"]
    with pytest.raises(DocumentError, match="pointer of Git LFS"):
        extract(export, entries, tmp_path / "out")
    monkeypatch.setattr(check_git, "MOST_BYTES", 100)
    with pytest.raises(DocumentError, match="no bundle"):
        extract(export, committed(export, resolve(export, "HEAD"))["net"], tmp_path / "other")
    assert not (tmp_path / "other").exists()
