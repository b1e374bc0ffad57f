"""What an ONNX model says of itself in its metadata, for whoever has nothing but the file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from binas_deploy.bundle.manifest import Preprocessing
from binas_deploy.space import Architecture, SearchSpace

PREFIX: Final = "binas_deploy."


def model_notes(
    space: SearchSpace, arch: Architecture, preprocessing: Preprocessing, labels: Sequence[str]
) -> dict[str, str]:
    """Space, network, preprocessing and labels, as text by key; the last two are JSON, as in a manifest.

    Nothing in it depends on when or where the model is written: the same network stays the same bytes.
    """
    return {
        f"{PREFIX}space": f"{space.name} {space.fingerprint}",
        f"{PREFIX}architecture": space.text(arch),
        f"{PREFIX}preprocessing": json.dumps(preprocessing.to_json(), sort_keys=True),
        f"{PREFIX}labels": json.dumps(list(labels)),
        f"{PREFIX}output": "logits, one for each label",
    }
