"""The device files that users copy, and the page that explains every key."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from binas_deploy.adapters.command.device import CommandDevice
from binas_deploy.adapters.command.options import CommandOptions
from binas_deploy.adapters.replay import ReplayDevice
from binas_deploy.devices import DeviceSpec, TimingSpec, device_files, open_device, parse_device_spec

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples" / "command_device").glob("*.toml"))
PAGE = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_device_that_opens(path: Path) -> None:
    spec = parse_device_spec(path.read_text(encoding="utf-8"), path)
    device = open_device(spec)
    assert isinstance(device, CommandDevice if spec.adapter == "command" else ReplayDevice)
    assert spec.name not in device_files(), "examples are no devices"


def test_there_are_examples() -> None:
    assert [path.stem for path in EXAMPLES] == ["mine", "recorded", "tflite", "trtexec"]


def test_the_page_explains_every_key() -> None:
    rows = " ".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("|"))
    explained = set(re.findall(r"`(\w+)`", rows))
    keys = {*DeviceSpec.model_fields, *TimingSpec.model_fields, *CommandOptions.model_fields}
    keys |= set(list(inspect.signature(ReplayDevice).parameters)[1:])
    assert keys <= explained, keys - explained


def test_the_page_s_own_example_is_a_device() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
    assert isinstance(open_device(parse_device_spec(text, Path("page.toml"))), CommandDevice)


def test_every_placeholder_is_explained() -> None:
    explained = set(re.findall(r"`\{(\w+)\}`", PAGE))
    assert explained >= {
        "model",
        "prepared",
        "count",
        "warmup",
        "report",
        "input",
        "output",
        "threads",
        "precision",
        "folder",
    }
