"""Device files, their lookup, and the registry of adapters."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

from binas_deploy.adapters import registry
from binas_deploy.adapters.base import DeviceFacts
from binas_deploy.adapters.registry import ADAPTERS, Adapter
from binas_deploy.devices import (
    DeviceSpec,
    availability,
    device_conditions,
    device_files,
    load_device_spec,
    open_device,
    parse_device_spec,
)
from binas_deploy.errors import DeviceError, DocumentError, EnvironmentFault, InputError, MissingExtraError
from binas_deploy.measure import Timing
from binas_deploy.testing.fake_device import FakeDevice

GOOD = """\
format = "binas-deploy/device"
version = 1
name = "mine"
adapter = "simulated"
threads = 2
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "mine.toml").write_text(GOOD, encoding="utf-8")
    return tmp_path


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    target = "binas_deploy.testing.fake_device:FakeDevice"
    monkeypatch.setitem(ADAPTERS, "simulated", Adapter(target, "binas_deploy"))


def test_the_built_in_cpu_is_what_its_file_says_and_the_defaults_are_those_of_the_code() -> None:
    spec = load_device_spec("cpu")
    assert (spec.name, spec.adapter, spec.transport, spec.precision) == ("cpu", "onnxruntime", "local", "fp32")
    assert (spec.threads, spec.batch) == (1, 1)
    assert spec.timing_rule() == Timing()


def test_the_built_in_file_documents_every_key() -> None:
    text = device_files()["cpu"].read_text(encoding="utf-8")
    documented = set(re.findall(r"^(\w+) = .*", text, flags=re.MULTILINE)) | set(
        re.findall(r"^(?:# )?\[(\w+)\]", text, re.M)
    )
    assert documented >= DeviceSpec.model_fields.keys() | type(DeviceSpec.model_fields["timing"].default).model_fields


def test_a_workspace_goes_before_the_built_in(workspace: Path) -> None:
    (workspace / "devices" / "cpu.toml").write_text(GOOD.replace("mine", "cpu"), encoding="utf-8")
    assert load_device_spec("cpu", workspace).adapter == "simulated"
    assert set(device_files(workspace)) >= {"cpu", "intel", "intel-gpu", "intel-npu", "mine"}
    assert load_device_spec("mine", workspace).threads == 2


def test_a_file_is_found_by_path(workspace: Path) -> None:
    path = workspace / "devices" / "mine.toml"
    assert load_device_spec(path) == load_device_spec(str(path)) == load_device_spec("mine", workspace)


def test_an_unknown_name_says_what_there_is(workspace: Path) -> None:
    with pytest.raises(InputError, match=r"unknown device 'toaster'. Known: cpu, .*intel, .*mine.*; or give the path"):
        load_device_spec("toaster", workspace)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such device file"):
        load_device_spec(tmp_path / "gone.toml")
    with pytest.raises(EnvironmentFault, match="cannot read"):
        load_device_spec(tmp_path)


def test_a_file_under_another_name_is_refused(workspace: Path) -> None:
    (workspace / "devices" / "other.toml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(DocumentError, match=r"other\.toml: name: is 'mine', the file is called 'other'"):
        load_device_spec("other", workspace)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("threads = 2", "threads = 0"), r"d\.toml: threads: .*greater than or equal to 1 \(found 0\)"),
        (("threads = 2", 'threads = "2"'), r"threads: .*integer \(found '2'\)"),
        (("threads = 2", "thread = 2"), r"thread: Extra inputs are not permitted"),
        (("threads = 2", 'precision = "fp64"'), r"precision: .*'fp32', 'fp16' or 'int8' \(found 'fp64'\)"),
        (("threads = 2", 'transport = "serial"'), r"transport: .*'local' or 'ssh'"),
        (("threads = 2", 'transport = "ssh"'), r"transport = .ssh. and a table \[ssh\] with the host go together"),
        (("threads = 2", '[ssh]\nhost = "a"'), r"transport = .ssh. and a table \[ssh\] with the host go together"),
        (
            ("threads = 2", 'transport = "ssh"\n[ssh]\nhost = "-oProxyCommand=x"'),
            r"ssh: .*'-oProxyCommand=x' cannot be",
        ),
        (("threads = 2", 'transport = "ssh"\n[ssh]\nhost = "a b"'), r"ssh: .*ssh\.host: 'a b'"),
        (("threads = 2", 'transport = "ssh"\n[ssh]\nhost = "a"\nuser = "-l"'), r"ssh: .*ssh\.user: '-l'"),
        (("threads = 2", 'transport = "ssh"\n[ssh]\nhost = "a"\nagent = "~/;x"'), r"ssh: .*ssh\.agent: '~/;x'"),
        (("threads = 2", 'transport = "ssh"\n[ssh]\nhost = "a"\nport = 0'), r"ssh\.port: .*greater than or equal to 1"),
        (("threads = 2", 'transport = "ssh"\n[ssh]\nhost = "a"\nkey = "x"'), r"ssh\.key: Extra inputs"),
        (("threads = 2", "[timing]\nmin_rounds = 90"), r"timing: .*min_rounds 90 is more than max_rounds 80"),
        (("threads = 2", "[options]\nprovider = [1]"), r"options\.provider"),
        (("threads = 2", "[options.inner]\nkey = [1]"), r"options\.inner"),
        (("threads = 2", "[options.inner.deeper]\nkey = 1"), r"options\.inner"),
        (("threads = 2", "[timing]\nmax_seconds = inf"), r"timing\.max_seconds"),
        (('name = "mine"', 'name = "Mine"'), r"name: .*pattern"),
        (('name = "mine"', 'name = "macs"'), r"name: .*a budget such as macs=\.\.\. is of the resource macs"),
        (('name = "mine"', 'name = "energy"'), r"name: .*no device can be called that"),
        (('format = "binas-deploy/device"', 'format = "binas-deploy/space"'), r"format: .*'binas-deploy/device'"),
        (('format = "binas-deploy/device"', ""), r"format: missing"),
        (("version = 1", ""), r"version: missing"),
        (("version = 1", "version = 2"), r"version 2, this tool reads 1. Upgrade"),
        (("version = 1", "version = "), r"not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_by_field(change: tuple[str, str], message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        parse_device_spec(GOOD.replace(*change), Path("d.toml"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"threads = {'9' * 5000}", r"d\.toml: (not valid TOML|threads: )"),
        (f"threads = {'[' * 5000}", r"d\.toml: not valid TOML"),
        (f"threads = 0x{'f' * 5000}", r"threads: .*\(found int, too large to show\)"),
        (f"{'threads' + '.a' * 5000} = 1", r"d\.toml: "),
        (f"version = 0x{'f' * 5000}", r"version int, too large to show, this tool reads 1"),
    ],
    ids=["digits", "brackets", "hexadecimal", "dotted", "version"],
)
def test_a_hostile_file_is_refused(line: str, message: str) -> None:
    name = line.partition(" ")[0].partition(".")[0]
    rest = "".join(row for row in GOOD.splitlines(keepends=True) if not row.startswith(name))
    with pytest.raises(DocumentError, match=message) as caught:
        parse_device_spec(f"{line}\n{rest}", Path("d.toml"))
    assert len(str(caught.value)) < 600


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DocumentError, match="not a text file"):
        load_device_spec(path)


def test_threads_are_overridden_and_checked() -> None:
    spec = parse_device_spec(GOOD, Path("d.toml"))
    assert spec.with_threads(None) is spec
    assert spec.with_threads(7) == spec.model_copy(update={"threads": 7})
    with pytest.raises(InputError, match="threads = 0"):
        spec.with_threads(0)


@pytest.mark.usefixtures("simulated")
def test_opening_gives_the_adapter_its_threads_and_options() -> None:
    spec = parse_device_spec(GOOD + "[options]\nnoise = 0.5\n", Path("d.toml"))
    assert isinstance(open_device(spec), FakeDevice)
    assert open_device(spec).facts().identity["threads"] == "2"
    facts = open_device(spec, threads=3).facts()
    assert (facts.identity["threads"], facts.identity["provider_options"]) == ("3", "noise=0.5;seed=0")


@pytest.mark.usefixtures("simulated")
def test_an_option_that_the_adapter_does_not_know_is_refused() -> None:
    spec = parse_device_spec(GOOD + "[options]\nnose = 0.5\n", Path("d.toml"))
    with pytest.raises(InputError, match=r"options\.nose: adapter 'simulated' does not know it. Allowed: noise, seed"):
        open_device(spec)


def test_a_list_is_for_options_that_take_one() -> None:
    spec = parse_device_spec(
        GOOD.replace("simulated", "onnxruntime") + '[options]\nprovider = ["CPU"]\n', Path("d.toml")
    )
    with pytest.raises(InputError, match=r"options\.provider: adapter 'onnxruntime' takes one value, found .'CPU'."):
        open_device(spec)
    words = GOOD.replace("simulated", "command") + '[options]\ncommand = ["run", "{model}"]\nunit = "ms"\n'
    assert parse_device_spec(words, Path("d.toml")).options["command"] == ["run", "{model}"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("[options.provider]\nx = 1", r"options\.provider: adapter 'onnxruntime' takes one value, found {'x': 1}"),
        ("[options]\nprovider_options = 1", r"takes a table, \[options\.provider_options\], found 1"),
        ("[options]\nprecision = 'fp16'", r"options\.precision: adapter 'onnxruntime' does not know it"),
    ],
)
def test_a_table_goes_where_one_is_taken(options: str, message: str) -> None:
    spec = parse_device_spec(GOOD.replace("simulated", "onnxruntime") + options, Path("d.toml"))
    with pytest.raises(InputError, match=message):
        open_device(spec)


def test_an_adapter_that_takes_the_precision_is_given_the_file_s() -> None:
    pytest.importorskip("onnxruntime")
    text = GOOD.replace("simulated", "onnxruntime") + '[options]\nprovider = "{}"\n'
    half = text.replace("threads = 2", 'threads = 2\nprecision = "fp16"')
    open_device(parse_device_spec(half.format("TensorrtExecutionProvider"), Path("d.toml")))
    with pytest.raises(InputError, match="CPUExecutionProvider runs fp32 and int8 only"):
        open_device(parse_device_spec(half.format("CPUExecutionProvider"), Path("d.toml")))


def test_an_unknown_adapter_says_what_there_is() -> None:
    spec = parse_device_spec(GOOD.replace("simulated", "magic"), Path("d.toml"))
    with pytest.raises(InputError, match=r"unknown adapter 'magic'\. Known: command, onnxruntime"):
        open_device(spec)
    usable, why = availability(spec)
    assert not usable
    assert "unknown adapter 'magic'" in why


def test_the_simulated_device_is_in_no_list() -> None:
    assert "simulated" not in registry.adapter_names()
    built_in = {"command", "onnxruntime", "openvino", "replay", "tensorrt", "tensorrt_rtx", "torch", "tvm"}
    assert built_in <= set(registry.adapter_names())


def test_the_version_of_an_adapter_s_package() -> None:
    assert registry.package_version(Adapter("binas_deploy.x:Y", "binas_deploy")) == "built in"
    assert registry.package_version(Adapter("x:Y", "nowhere_at_all")) == ""
    assert registry.package_version(Adapter("x:Y", "click")).startswith("click 8")


def test_a_missing_extra_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADAPTERS, "absent", Adapter("nowhere.to:BeFound", "nowhere_at_all", "cpu"))
    spec = parse_device_spec(GOOD.replace("simulated", "absent"), Path("d.toml"))
    usable, why = availability(spec)
    assert not usable
    assert "pip install 'binas-deploy[cpu]'" in why
    with pytest.raises(MissingExtraError):
        open_device(spec)


def test_an_adapter_of_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = importlib.metadata.EntryPoint(
        "theirs", "binas_deploy.testing.fake_device:FakeDevice", registry.ENTRY_POINTS
    )
    broken = importlib.metadata.EntryPoint("broken", "binas_deploy.testing:Nothing", registry.ENTRY_POINTS)
    gone = importlib.metadata.EntryPoint("gone", "nowhere_at_all:Device", registry.ENTRY_POINTS)
    found = importlib.metadata.EntryPoints([entry, broken, gone])
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: found.select(group=group))
    spec = parse_device_spec(GOOD.replace("simulated", "theirs"), Path("d.toml"))
    assert availability(spec) == (True, "installed")
    assert isinstance(open_device(spec), FakeDevice)
    with pytest.raises(DeviceError, match="cannot be imported"):
        open_device(parse_device_spec(GOOD.replace("simulated", "broken"), Path("d.toml")))
    usable, why = availability(parse_device_spec(GOOD.replace("simulated", "gone"), Path("d.toml")))
    assert not usable
    assert "'nowhere_at_all', which is not installed" in why


def test_availability_imports_no_runtime() -> None:
    code = (
        "import sys; from binas_deploy.devices import *; availability(load_device_spec('cpu'));"
        "sys.exit('onnxruntime' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_conditions_join_what_is_read_and_what_is_asked() -> None:
    spec = parse_device_spec(GOOD, Path("d.toml"))
    conditions = device_conditions(spec, FakeDevice(2).facts())
    assert conditions.identity["device"] == "mine"
    assert (conditions.identity["precision"], conditions.identity["batch"]) == ("fp32", "1")
    assert (conditions.identity["threads"], conditions.identity["cadence"]) == ("2", "back-to-back")


def test_incomplete_facts_are_the_adapter_s_fault() -> None:
    spec = parse_device_spec(GOOD, Path("d.toml"))
    with pytest.raises(DeviceError, match=r"adapter 'simulated' states incomplete facts: .*missing device_model"):
        device_conditions(spec, DeviceFacts({}, {}))
