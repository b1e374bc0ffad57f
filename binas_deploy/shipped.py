"""What ships trained: the files of ``zoo/<space>/``, found by the name of the space."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.errors import InputError
from binas_deploy.space import SearchSpace

ShippedFile = Literal["accuracy.json", "supernet.json"]
_ZOO: Final = Path(__file__).resolve().parent / "zoo"


def shipped_file(space_name: str, file: ShippedFile) -> Path | None:
    """The shipped file of a space, None when it ships none."""
    path = _ZOO / space_name / file
    return path if path.is_file() else None


def accuracy_path(space: SearchSpace, explicit: Path | None) -> Path:
    """The accuracy model to use: the one given, else the shipped one.

    Raises:
        InputError: none was given and the space ships none.
    """
    return explicit or _required(
        space, "accuracy.json", "accuracy model", "--accuracy FILE, which 'binas-deploy estimate' writes"
    )


def shipped_accuracy(space: SearchSpace) -> AccuracyModel | None:
    """The shipped accuracy model, None where there is none, or one of another space of the same name."""
    path = shipped_file(space.name, "accuracy.json")
    model = AccuracyModel.load(path) if path else None
    return model if model is not None and model.space.fingerprint == space.fingerprint else None


def supernet_path(space: SearchSpace, explicit: Path | None) -> Path:
    """The folder of the supernet to use: the one given, else the shipped one.

    Raises:
        InputError: none was given and the space ships none.
    """
    return (
        explicit
        or _required(space, "supernet.json", "supernet", "--supernet FOLDER, which 'binas-deploy train' writes").parent
    )


def _required(space: SearchSpace, file: ShippedFile, what: str, remedy: str) -> Path:
    found = shipped_file(space.name, file)
    if found is None:
        raise InputError(f"space '{space.name}' ships no {what}. Give {remedy}.")
    return found
