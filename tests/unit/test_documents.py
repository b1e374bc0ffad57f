from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

from binas_deploy import documents
from binas_deploy.errors import DocumentError, EnvironmentFault, InputError

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)
CONTENTS = st.dictionaries(st.text().filter(lambda key: key not in ("format", "version", "digest")), JSON, max_size=5)
SAMPLE = {"unit": "ns", "rows": [{"a": 1, "b": [1, 2]}, {"a": 2}], "by_key": {"x": [1, 2], "y": []}, "share": 0.25}


def sealed(**changes: Any) -> dict[str, Any]:
    return documents.seal("thing", 2, SAMPLE | changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "thing.json"
    documents.write_document(target, sealed())
    return target


@given(CONTENTS)
def test_text_round_trips_and_keeps_its_digest(content: dict[str, Any]) -> None:
    document = documents.seal("thing", 1, content)
    parsed = json.loads(documents.dump_text(document))
    assert parsed == document
    assert documents.check_document(parsed, Path("x"), "thing", 1) == document


@given(CONTENTS, st.randoms())
def test_digest_ignores_the_order_of_keys(content: dict[str, Any], random: Any) -> None:
    keys = list(content)
    random.shuffle(keys)
    assert documents.digest({key: content[key] for key in keys}) == documents.digest(content)


def test_each_entry_of_a_container_has_its_line() -> None:
    lines = documents.dump_text(sealed()).splitlines()
    assert '  {"a": 1, "b": [1, 2]},' in lines
    assert '  "x": [1, 2],' in lines
    assert '"unit": "ns",' in lines


def test_reads_what_it_wrote(path: Path) -> None:
    assert documents.read_document(path, "thing", 2) == sealed()
    assert documents.read_document(path, "thing", 9) == sealed()  # an older version is the caller's to migrate


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: no such file \(a thing was expected\)"):
        documents.read_document(tmp_path / "none.json", "thing", 1)


def test_every_truncation_is_refused(path: Path) -> None:
    text = path.read_text()
    for length in range(len(text) - 1):  # the last character is the final newline
        path.write_text(text[:length])
        with pytest.raises(DocumentError, match=r"truncated|expected a document"):
            documents.read_document(path, "thing", 2)


def test_an_edit_is_noticed(path: Path) -> None:
    path.write_text(path.read_text().replace("0.25", "0.26"))
    with pytest.raises(DocumentError, match="edited by hand or damaged"):
        documents.read_document(path, "thing", 2)
    assert documents.read_document(path, "thing", 2, verify=False)["share"] == 0.26


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_does_not_have_are_refused(path: Path, number: str) -> None:
    path.write_text(path.read_text().replace("0.25", number))
    with pytest.raises(DocumentError, match="edited by hand or damaged"):
        documents.read_document(path, "thing", 2)


def test_a_newer_version_asks_for_an_upgrade(path: Path) -> None:
    with pytest.raises(DocumentError, match=r"written in version 2 of thing, this tool reads up to 1\. Upgrade"):
        documents.read_document(path, "thing", 1)


@pytest.mark.parametrize("version", [0, -1, True, 1.0, "1", None])
def test_a_senseless_version_is_refused(version: Any) -> None:
    with pytest.raises(DocumentError, match="'version' must be a positive integer"):
        documents.check_document(sealed() | {"version": version}, Path("x"), "thing", 2)


@pytest.mark.parametrize(
    "text", ["[]", "7", "null", "{}", '{"format": "other/thing"}', '{"format": ["binas-deploy/thing"]}']
)
def test_a_foreign_file_is_refused_naming_both_formats(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(DocumentError, match="expected a document of format 'binas-deploy/thing', found"):
        documents.read_document(path, "thing", 2)


def test_another_kind_of_ours_is_refused(path: Path) -> None:
    with pytest.raises(DocumentError, match="'binas-deploy/other', found 'binas-deploy/thing'"):
        documents.read_document(path, "other", 2)


@pytest.mark.parametrize(
    "payload", [b"\xff\xfe", b"", b"[" * 100_000, b"1" * 5000], ids=["binary", "empty", "deep", "long"]
)
def test_damaged_bytes_are_refused(path: Path, payload: bytes) -> None:
    path.write_bytes(payload)
    with pytest.raises(DocumentError):
        documents.read_document(path, "thing", 2)


def test_an_enormous_file_is_not_read(path: Path) -> None:
    os.truncate(path, documents.MAX_DOCUMENT_BYTES + 1)
    with pytest.raises(DocumentError, match="over 64 MiB"):
        documents.read_document(path, "thing", 2)


def test_what_cannot_be_read_is_the_environments_fault(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="cannot read"):
        documents.read_document(tmp_path, "thing", 1)


def test_makes_folders_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "thing.json"
    documents.write_document(target, sealed())
    assert [entry.name for entry in target.parent.iterdir()] == ["thing.json"]
    assert stat.S_IMODE(target.stat().st_mode) & 0o600 == 0o600


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "no space left on the device; free some"),
        (errno.EACCES, "permission denied; choose another place"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EIO, "Input/output error"),
    ],
)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int, advice: str
) -> None:
    monkeypatch.setattr(os, step, raiser(OSError(number, os.strerror(number))))
    before = path.read_bytes()
    with pytest.raises(EnvironmentFault, match=f"cannot write .*thing.json: {advice}"):
        documents.write_document(path, sealed(share=1.0))
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["thing.json"]


def test_an_interrupted_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", raiser(KeyboardInterrupt()))
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        documents.write_document(path, sealed(share=1.0))
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["thing.json"]


def test_a_file_in_the_way_of_a_folder_is_said(path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="cannot write"):
        documents.write_document(path / "below.json", sealed())


def test_validation_findings_name_path_field_and_value() -> None:
    class Row(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)
        depth: int

    class File(BaseModel):
        rows: list[Row]

    with pytest.raises(ValidationError) as finding:
        File.model_validate({"rows": [{"depth": 1}, {"depth": "x" * 200, "color": 3}]})
    lines = documents.validation_message(Path("a.json"), finding.value).splitlines()
    assert lines[0].startswith("a.json: rows[1].depth: Input should be a valid integer (found 'xxx")
    assert lines[0].endswith("...)")
    assert "rows[1].color: Extra inputs are not permitted (found 3)" in lines[1]


def test_file_sha256(tmp_path: Path) -> None:
    target = tmp_path / "f"
    target.write_bytes(b"abc")
    assert documents.file_sha256(target) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(InputError, match="no such file"):
        documents.file_sha256(tmp_path / "none")
    with pytest.raises(EnvironmentFault, match="cannot read"):
        documents.file_sha256(tmp_path)


def raiser(error: BaseException) -> Callable[..., None]:
    def fail(*args: object, **options: object) -> None:
        raise error

    return fail
