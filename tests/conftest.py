"""What all tests share: reproducible property tests and a space small enough to enumerate."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import settings

from binas_deploy.space import SearchSpace
from binas_deploy.space_file import load_space

# Started in the background (nohup, a script's &), a process ignores Ctrl-C and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("binas", deadline=None, derandomize=True, database=None)
settings.load_profile("binas")

# 600 networks. Elastic in expansion, kernel, squeeze-and-excitation, depth and skipping a block.
TINY_SPACE = """\
format = "binas-deploy/space"
version = 1
name = "tiny"
classes = 5
input = { channels = 3, resolution = 8 }
stem = { channels = 8, kernel = 3, stride = 1, activation = "hard_swish" }
head = { hidden = 24, activation = "hard_swish" }

[[stages]]
op = "inverted_residual"
channels = 8
stride = 1
activation = "relu"
depth = [1, 2]
expansion = [1, 2]
kernel = [3, 5]
identity = true

[[stages]]
op = "inverted_residual"
channels = 12
stride = 2
activation = "hard_swish"
depth = [1, 2]
expansion = [2, 3]
kernel = [3]
se_ratio = [0, 0.5]

[[stages]]
op = "conv"
channels = 16
stride = 1
activation = "hard_swish"
depth = 1
kernel = [1]
"""


@pytest.fixture(scope="session")
def tiny_space_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid space file, ``tiny.toml``; do not change it in place."""
    path = tmp_path_factory.mktemp("spaces") / "tiny.toml"
    path.write_text(TINY_SPACE, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_space(tiny_space_path: Path) -> SearchSpace:
    """The space of `tiny_space_path`: 3x8x8 inputs, 5 classes, three stages, 600 networks."""
    return load_space(tiny_space_path)
