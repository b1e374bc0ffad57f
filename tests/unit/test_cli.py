"""The frame of the command line: help, options, exit codes. What commands do is tested with their steps."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from binas_deploy import errors
from binas_deploy.cli.main import COMMANDS, cli
from binas_deploy.cli.table import COMMANDS as TABLE_COMMANDS

HEAVY = {"numpy", "scipy", "onnx", "pydantic", "torch", "onnxruntime", "rich"}


def run(*args: str, **environment: str) -> Result:
    return CliRunner().invoke(cli, args, env=environment, prog_name="binas-deploy")


@pytest.fixture
def command_that(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Make ``binas-deploy init`` do as the function given does."""

    def replace(callback: Callable[[], object]) -> None:
        module = types.ModuleType("binas_deploy.cli.init")
        module.command = click.Command("init", callback=callback)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "binas_deploy.cli.init", module)

    return replace


def raising(error: BaseException) -> Callable[[], object]:
    def callback() -> object:
        raise error

    return callback


def test_the_help_names_every_command() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert all(f"\n  {name} " in result.output for name in COMMANDS)


INNER = [["data", "fetch"], ["devices", "setup"], *(["table", name] for name in TABLE_COMMANDS)]
GROUPS = [["data"], ["table"]]
NO_USUAL_OPTIONS = [*GROUPS, ["agent"]]  # what serves a program has no workspace and speaks no JSON


@pytest.mark.parametrize("words", [[name] for name in COMMANDS] + INNER, ids=" ".join)
def test_every_command_has_help(words: list[str]) -> None:
    result = run(*words, "--help")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"Usage: binas-deploy {' '.join(words)}")
    if words not in NO_USUAL_OPTIONS:
        assert all(option in result.output for option in ("--workspace", "--json", "--quiet", "--debug"))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_static_help_line_is_the_command_s_own(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert command.get_short_help_str(200).rstrip(".") == COMMANDS[name].rstrip(".")


@pytest.mark.parametrize(
    ("words", "modules"),
    [
        (["--help"], [f"binas_deploy.cli.{name}" for name in COMMANDS]),
        (["table", "--help"], [f"binas_deploy.cli.table_{name}" for name in TABLE_COMMANDS]),
    ],
    ids=["all", "table"],
)
def test_help_loads_no_command_and_nothing_heavy(words: list[str], modules: list[str]) -> None:
    code = (
        "import sys, click.testing; from binas_deploy.cli.main import cli\n"
        f"assert click.testing.CliRunner().invoke(cli, {words!r}).exit_code == 0\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & HEAVY
    assert not loaded & set(modules)


@pytest.mark.parametrize("name", [*COMMANDS, *(f"table_{name}" for name in TABLE_COMMANDS)])
def test_a_command_s_module_loads_nothing_heavy(name: str) -> None:
    code = f"import sys, binas_deploy.cli.{name}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & HEAVY


def test_version() -> None:
    from binas_deploy import __version__

    assert run("--version").output == f"binas-deploy, version {__version__}\n"


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["--nonsense"],
        ["devices", "--nonsense"],
        ["search"],
        ["deploy"],
        ["search", "--budget", "1ms", "--threads", "0"],
        ["search", "--budget", "1ms", "--seed", "-1"],
        ["data", "fetch", "imagenet"],
        ["estimate", "--supernet", "x", "--method", "guess"],
        ["export"],
        ["verify"],
        ["table", "nonsense"],
        ["table", "diff", "only-one.json"],
        ["table", "export", "--what", "nonsense"],
        ["table", "show", "--top", "-1"],
        ["table", "show", "table.json", "--threads", "2"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(args: list[str]) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr


@pytest.mark.parametrize("command", ["search", "deploy"])
@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("30", "'30' has no unit. Write one of: 30ns, 30us, 30ms, 30s."),
        ("0ms", "out of range"),
        ("-1ms", "out of range"),
        ("1e30s", "out of range"),
        ("5MB", "'MB' is not a unit of time"),
        ("fast", "not a quantity"),
    ],
)
def test_a_bad_budget_is_2_and_changes_nothing(command: str, budget: str, message: str, tmp_path: Path) -> None:
    result = run(command, "--budget", budget, "--workspace", str(tmp_path), "--output", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["search", "deploy"])
def test_an_unknown_space_is_2(command: str, tmp_path: Path) -> None:
    result = run(command, "--budget", "1ms", "--space", "nowhere", "--workspace", str(tmp_path))
    assert result.exit_code == 2
    assert "error: unknown space 'nowhere'. Known: cifar10, mobilenetv3" in result.stderr


@pytest.mark.parametrize("args", [["profile"], ["deploy", "--budget", "1ms"]], ids=" ".join)
def test_an_unknown_device_is_2(args: list[str], tmp_path: Path) -> None:
    result = run(*args, "--device", "toaster", "--workspace", str(tmp_path))
    assert result.exit_code == 2
    assert "error: unknown device 'toaster'. Known: cpu" in result.stderr


def test_a_space_without_accuracy_model_is_2_and_says_so(tmp_path: Path) -> None:
    result = run("search", "--space", "mobilenetv3", "--budget", "30ms", "--workspace", str(tmp_path))
    assert result.exit_code == 2
    assert "error: space 'mobilenetv3' ships no accuracy model. Give --accuracy FILE" in result.stderr


def test_each_error_has_its_exit_code(command_that: Callable[[Callable[[], object]], None]) -> None:
    expected = {
        errors.BinasError("x"): 2,
        errors.InputError("x"): 2,
        errors.EnvironmentFault("x"): 2,
        errors.MissingExtraError("torch", "torch", "training"): 2,
        errors.DeviceError("x"): 3,
        errors.NotMeasuredError("x"): 3,
        errors.InconclusiveError("x"): 4,
        errors.InfeasibleBudgetError("x"): 5,
    }
    for error, code in expected.items():
        command_that(raising(error))
        result = run("init")
        assert (result.exit_code, result.stdout) == (code, "")
        assert result.stderr == f"error: {error}\n"


@pytest.mark.parametrize("code", [0, 1, 3, 4])
def test_a_command_s_verdict_is_the_exit_code(code: int, command_that: Callable[[Callable[[], object]], None]) -> None:
    command_that(lambda: code)
    assert run("init").exit_code == code


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()], ids=repr)
def test_an_interrupt_is_130(error: BaseException, command_that: Callable[[Callable[[], object]], None]) -> None:
    command_that(raising(error))
    result = run("init")
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


def interrupted_import() -> None:
    """What a compiled extension makes of it, and what an adapter makes of that."""
    try:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise ImportError("initialization failed") from error
    except ImportError as error:
        raise errors.DeviceError("ONNX Runtime is installed and cannot be imported") from error


def interrupted_start() -> None:
    try:
        raise KeyboardInterrupt
    finally:
        raise RuntimeError("cannot join thread before it is started")


@pytest.mark.parametrize("what", [interrupted_import, interrupted_start])
def test_what_libraries_make_of_an_interrupt_is_one(
    what: Callable[[], None], command_that: Callable[[Callable[[], object]], None]
) -> None:
    command_that(what)
    result = run("init")
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


def test_a_click_error_is_never_taken_for_a_verdict(command_that: Callable[[Callable[[], object]], None]) -> None:
    command_that(raising(click.ClickException("no")))
    assert run("init").exit_code == 2


@pytest.mark.parametrize(
    ("number", "message"),
    [(errno.ENOSPC, "no space left on the device"), (errno.EACCES, "permission denied"), (errno.EROFS, "read-only")],
)
def test_what_the_system_refuses_is_2(
    number: int, message: str, command_that: Callable[[Callable[[], object]], None]
) -> None:
    command_that(raising(OSError(number, os.strerror(number), "some/file")))
    result = run("init")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: some/file: ")
    assert message in result.stderr


def test_out_of_memory_is_2(command_that: Callable[[Callable[[], object]], None]) -> None:
    command_that(raising(MemoryError()))
    result = run("init")
    assert result.exit_code == 2
    assert "out of memory" in result.stderr


@pytest.mark.parametrize("error", [ValueError("odd"), OSError("odd")], ids=["value", "os"])
def test_a_defect_is_short_and_says_how_to_get_the_traceback(
    error: Exception, command_that: Callable[[Callable[[], object]], None]
) -> None:
    command_that(raising(error))
    result = run("init")
    assert result.exit_code == 70
    assert result.stderr.startswith(f"error: a defect of binas-deploy: {type(error).__name__}: odd\n")
    assert "--debug" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_environment_can_ask_for_the_traceback(command_that: Callable[[Callable[[], object]], None]) -> None:
    command_that(raising(errors.InputError("odd")))
    assert "Traceback" in run("init", BINAS_DEPLOY_DEBUG="1").stderr
    assert "Traceback" not in run("init", BINAS_DEPLOY_DEBUG="0").stderr


def test_debug_works_before_and_after_the_command(tmp_path: Path) -> None:
    for args in (["--debug", "spaces", "no.toml"], ["spaces", "no.toml", "--debug"]):
        result = run(*args)
        assert result.exit_code == 2
        assert result.stderr.startswith("Traceback")
        assert result.stderr.endswith("error: no.toml: no such space file.\n")


SLEEPER = """
import sys, time, types, click
module = types.ModuleType("binas_deploy.cli.init")
def sleep():
    print("ready", flush=True)
    time.sleep(60)
module.command = click.Command("init", callback=sleep)
sys.modules[module.__name__] = module
sys.argv = ["binas-deploy", "init"]
from binas_deploy.cli.main import main
main()
"""


def test_ctrl_c_ends_a_running_command_with_130() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "interrupted\n")


MAIN = [sys.executable, "-c", "from binas_deploy.cli.main import main; main()"]


def test_a_closed_pipe_is_quiet() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*MAIN, "spaces", "--json"], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_named() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*MAIN, "spaces"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: output: no space left on the device")
    assert done.stderr.count("\n") == 1


def test_init_says_what_it_made_and_then_nothing(tmp_path: Path) -> None:
    target = tmp_path / "here"
    assert run("init", str(target)).stdout.splitlines() == [
        f"workspace {target}",
        "made ./",
        "made devices/",
        "made latency_tables/",
        "made export/",
        "made devices/cpu.toml",
    ]
    assert run("init", "--workspace", str(target)).stdout == f"workspace {target}: all there already\n"


def test_devices_lists_what_is_installed_and_what_not_with_the_reason(tmp_path: Path) -> None:
    run("init", str(tmp_path))
    (tmp_path / "devices" / "broken.toml").write_text("nonsense", encoding="utf-8")
    result = run("devices", "--workspace", str(tmp_path))
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("device")
    rows = {line.split()[0]: line for line in reversed(lines) if line}  # the first of each
    assert "  no  " in rows["broken"]
    assert rows["cpu"].split()[:2] == ["cpu", "onnxruntime"]
    assert "  works  " not in rows["cpu"]
    assert rows["intel"].split()[:2] == ["intel", "openvino"]
    assert any(line.startswith(f"broken: {tmp_path / 'devices' / 'broken.toml'}: not valid TOML") for line in lines)
    assert rows["adapter"].split() == ["adapter", "package", "installed"]
    assert rows["cpu"] in lines[: lines.index(rows["adapter"])]
    assert any(line.startswith("affinity") for line in lines)


def test_devices_check_runs_a_network_on_each_that_is_named(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    run("init", str(tmp_path))
    broken = (tmp_path / "devices" / "cpu.toml").read_text(encoding="utf-8").replace('"cpu"', '"odd"')
    asked = broken.replace('"CPUExecutionProvider"', '"CUDAExecutionProvider"')
    (tmp_path / "devices" / "odd.toml").write_text(asked, encoding="utf-8")
    result = run("devices", "--device", "cpu", "--device", "odd", "--check", "--json", "--workspace", str(tmp_path))
    cpu, odd = json.loads(result.stdout)["devices"]
    assert (cpu["installed"], cpu["works"], odd["installed"], odd["works"]) == (True, True, True, False)
    assert cpu["latency_ns"] > 0
    assert "by onnxruntime 1." in cpu["reason"]
    assert "NVIDIA GPU 0 asked" in odd["reason"] or "CUDAExecutionProvider" in odd["reason"]
    assert result.exit_code == 3


def test_devices_by_a_name_that_is_none(tmp_path: Path) -> None:
    result = run("devices", "--device", "toaster", "--workspace", str(tmp_path))
    assert result.exit_code == 2
    assert "unknown device 'toaster'" in result.stderr


@pytest.mark.parametrize("command", ["devices", "spaces", "init"])
def test_json_is_one_sealed_document_and_nothing_else(command: str, tmp_path: Path) -> None:
    from binas_deploy.documents import digest

    result = run(command, "--json", "--workspace", str(tmp_path))
    document = json.loads(result.stdout)
    assert document["digest"] == digest(document)
    assert result.stderr == ""


def test_spaces_describes_the_shipped_ones_and_files(tiny_space_path: Path) -> None:
    lines = run("spaces").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["space", "cifar10", "mobilenetv3"]
    assert "5.9e+21" in lines[2]
    tiny = json.loads(run("spaces", str(tiny_space_path), "--json").stdout)["spaces"]
    assert [(space["name"], space["networks"]) for space in tiny] == [("tiny", 600)]
