"""How often a test set has judged networks of a space on this machine: a document in the user's cache.

Networks are told apart by the hash of their file, so verifying one again counts once. Which images they are is told by
the test split alone: held-out images may be drawn anew without making it another test.

Format history of ``binas-deploy/test-uses``:

1. The first: for each (images, space), the networks judged, in order.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from binas_deploy.bundle.verification_parts import SetUse
from binas_deploy.cache import cache_folder
from binas_deploy.data.alone import alone
from binas_deploy.data.base import Split
from binas_deploy.documents import read_document, seal, validation_message, write_document
from binas_deploy.errors import DocumentError
from binas_deploy.space import SearchSpace

KIND: Final = "test-uses"
VERSION: Final = 1
_NAME: Final = "test-uses.json"
_SECONDS: Final = 30.0
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Row(_Strict):
    images: _Sha256
    space: Annotated[str, Field(max_length=255)]
    networks: Annotated[list[_Sha256], Field(min_length=1)]


class LedgerDocument(_Strict):
    """The whole document."""

    format: str
    version: int
    digest: str
    uses: list[_Row]


def ledger_path() -> Path:
    """Where the count is kept. Without it, counting begins anew."""
    return cache_folder() / _NAME


def count_use(split: Split, space: SearchSpace, network_sha256: str) -> SetUse:
    """Note that the test images ``split`` judge a network of ``space``, and how many they have by now.

    Raises:
        DocumentError: the ledger is damaged.
        EnvironmentFault: it cannot be written, or another process holds it.
    """
    path, images = ledger_path(), split_sha256(split)
    with alone(path.with_suffix(".lock"), "counting a use of the test images", seconds=_SECONDS):
        uses = _read(path)
        judged = uses.setdefault((images, space.fingerprint), [])
        if network_sha256 not in judged:
            judged.append(network_sha256)
            _write(path, uses)
    return SetUse(space.name, judged.index(network_sha256) + 1, len(judged))


def split_sha256(split: Split) -> str:
    """SHA-256 (hex) of images and labels in their order."""
    hasher = hashlib.sha256(repr(split.images.shape).encode())
    hasher.update(np.ascontiguousarray(split.labels, dtype="<i8").data)
    hasher.update(np.ascontiguousarray(split.images).data)
    return hasher.hexdigest()


_Uses = dict[tuple[str, str], list[str]]


def _read(path: Path) -> _Uses:
    if not path.is_file():
        return {}
    content = read_document(path, KIND, VERSION)
    try:
        read = LedgerDocument.model_validate(content)
    except ValidationError as error:
        raise DocumentError(validation_message(path, error)) from error
    return {(row.images, row.space): list(row.networks) for row in read.uses}


def _write(path: Path, uses: _Uses) -> None:
    rows = [{"images": images, "space": space, "networks": networks} for (images, space), networks in uses.items()]
    write_document(path, seal(KIND, VERSION, {"uses": rows}))
