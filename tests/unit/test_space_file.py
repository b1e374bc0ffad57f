"""Space files: what they may hold, and refusals that name file, field path, value and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from binas_deploy.block import Op
from binas_deploy.errors import DocumentError, InputError
from binas_deploy.space import SearchSpace
from binas_deploy.space_file import load_space, parse_space, space_document, space_from_document, space_names


def test_shipped_spaces_are_named() -> None:
    assert space_names() == ["cifar10", "mobilenetv3"]
    with pytest.raises(InputError, match=r"unknown space 'imagenet'\. Known: cifar10, mobilenetv3"):
        load_space("imagenet")


def test_a_file_is_loaded_by_path_and_embeds_itself(tiny_space_path: Path, tiny_space: SearchSpace) -> None:
    assert load_space(str(tiny_space_path)) == tiny_space
    again = space_from_document(space_document(tiny_space), Path("other.json"))
    assert again == tiny_space
    assert again.fingerprint == tiny_space.fingerprint


def test_the_fingerprint_follows_the_networks_and_not_the_name(tiny_space_path: Path, tiny_space: SearchSpace) -> None:
    text = tiny_space_path.read_text(encoding="utf-8")
    renamed = parse_space(text.replace('"tiny"', '"other"'), Path("a.toml"))
    wider = parse_space(text.replace("channels = 12", "channels = 16"), Path("a.toml"))
    assert renamed.fingerprint == tiny_space.fingerprint
    assert wider.fingerprint != tiny_space.fingerprint


def test_identity_is_an_option_only_where_shapes_agree(tiny_space_path: Path) -> None:
    text = tiny_space_path.read_text(encoding="utf-8")
    relu = 'stride = {}\nactivation = "relu"'
    strided = parse_space(text.replace(relu.format(1), relu.format(2)), Path("a"))
    ops = [[option.op for option in row] for row in strided.stages[0].options]
    assert Op.IDENTITY not in ops[0]
    assert ops[1][-1] is Op.IDENTITY


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("depth = [1, 2]", "depth = [2, 1]", r"stages\[0\]\.depth.*from <= to.*\[2, 1\]"),
        ("depth = [1, 2]", "depth = 0", r"stages\[0\]\.depth"),
        ("kernel = [3, 5]", "kernel = [3, 4]", r"stages\[0\]\.kernel\[1\].*1, 3, 5, 7 or 9.*found 4"),
        ("kernel = [3, 5]", "kernel = [3, 3]", r"stages\[0\]\.kernel.*may stand once"),
        ('activation = "relu"', 'activation = "tanh"', r"stages\[0\]\.activation.*'relu'.*found 'tanh'"),
        ("stride = 2", "stride = 3", r"stages\[1\]\.stride"),
        ("classes = 5", "classes = 1", r"classes.*greater than or equal to 2"),
        ("se_ratio = [0, 0.5]", "se_ratio = [0, 2]", r"stages\[1\]\.se_ratio\[1\]"),
        ("classes = 5", "clases = 5", r"clases: Extra inputs"),
        ("version = 1", "version = 2", "version 2, this tool reads 1. Upgrade"),
        ('format = "binas-deploy/space"', "", "format: missing"),
        ('format = "binas-deploy/space"', 'format = "other"', "format"),
        ('name = "tiny"', 'name = "../etc"', "name"),
        ("[[stages]]", "[[stages", "not valid TOML"),
        ("channels = 16\nstride = 1", "channels = 16\nexpansion = [2]\nstride = 1", "expansion belongs to inverted"),
        ("channels = 16\nstride = 1", "channels = 16\nse_ratio = [0.25]\nstride = 1", "se_ratio belongs to"),
    ],
)
def test_a_wrong_file_is_refused(tiny_space_path: Path, old: str, new: str, complaint: str) -> None:
    text = tiny_space_path.read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(DocumentError, match=complaint) as caught:
        parse_space(text.replace(old, new, 1), Path("mine.toml"))
    assert str(caught.value).startswith("mine.toml: ")


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such space file"):
        load_space(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DocumentError, match="not a text file"):
        load_space(tmp_path / "binary.toml")


def test_an_embedded_space_with_another_fingerprint_is_refused(tiny_space: SearchSpace) -> None:
    embedded = space_document(tiny_space) | {"fingerprint": "0" * 64}
    with pytest.raises(DocumentError, match=r"t\.json: space\.fingerprint"):
        space_from_document(embedded, Path("t.json"))
    with pytest.raises(DocumentError, match="expected name, fingerprint and source"):
        space_from_document({"name": "tiny"}, Path("t.json"))
