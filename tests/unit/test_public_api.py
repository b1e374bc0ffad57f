"""The public names are exactly these, and asking twice gives the same thing."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

import binas_deploy

PUBLIC = [
    "AccuracyModel",
    "Architecture",
    "Budget",
    "LatencyTable",
    "SearchSpace",
    "__version__",
    "check",
    "deploy",
    "export",
    "load",
    "load_space",
    "profile",
    "search",
    "verify",
]


def test_the_list_is_exact_and_sorted() -> None:
    assert binas_deploy.__all__ == PUBLIC == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_name_is_the_same_the_second_time(name: str) -> None:
    first = getattr(binas_deploy, name)
    second = getattr(binas_deploy, name)
    assert first is second
    assert callable(first) or name == "__version__"


@pytest.mark.parametrize("name", PUBLIC)
def test_no_submodule_bears_a_public_name(name: str) -> None:
    assert importlib.util.find_spec(f"binas_deploy.{name}") is None


def test_dir_lists_the_public_names() -> None:
    assert set(PUBLIC) <= set(dir(binas_deploy))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = binas_deploy.nonsense


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, binas_deploy; print(*sorted({'numpy', 'onnx', 'pydantic', 'torch', 'click'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
