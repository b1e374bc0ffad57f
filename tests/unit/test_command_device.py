"""The command adapter: what it passes on, what it reads, and what it refuses. Commands here are little scripts."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binas_deploy.adapters.base import Precision
from binas_deploy.adapters.command.arrays import packed, unpacked
from binas_deploy.adapters.command.device import CommandDevice
from binas_deploy.adapters.command.figures import Reading
from binas_deploy.adapters.command.words import Words
from binas_deploy.errors import BinasError, DeviceError, InputError, NoOutputsError
from binas_deploy.measure import Subject, Timing, measure
from binas_deploy.model import INPUT_NAME, OUTPUT_NAME, OnnxModel
from binas_deploy.quality import _own_seconds

MODEL = OnnxModel(b"bytes of a model", (1, 2), (1, 3))
FEED = {INPUT_NAME: np.array([[1.5, -2.0]], np.float32)}
STATED: dict[str, Any] = {"unit": "ms", "device_model": "a board", "runtime": "own", "runtime_version": "3"}


def script(code: str) -> list[str]:
    """A command that runs Python code; the words after it are ``a[0]``, ``a[1]`` ..."""
    # -S -E: without site-packages it starts in some ten milliseconds.
    return [sys.executable, "-S", "-E", "-c", f"import sys, json, time, os; a = sys.argv[1:]; {code}"]


PRINT = [*script("[print(0.5 + i) for i in range(int(a[1]))]"), "{model}", "{count}"]


def device(command: list[str] = PRINT, **options: Any) -> CommandDevice:
    return CommandDevice(1, command=command, **{**STATED, **options})


def sampled(made: CommandDevice, tmp_path: Path, count: int = 3) -> list[int]:
    with made.load(made.compile(MODEL, precision=Precision.FP32, cache=tmp_path)) as executable:
        samples = executable.sample(FEED, count=count)
    assert samples.dtype == np.int64
    found: list[int] = samples.tolist()
    return found


# Words


def test_placeholders_are_filled_word_by_word_and_never_read_again() -> None:
    words = Words(
        "command", ("run", "--m={model}", "{count}", "{{count}}", "{print $1}", '{"a": {"b": 1}}'), ("model", "count")
    )
    filled = words.filled({"model": "/a b/{count}; rm", "count": "7"})
    assert filled == ["run", "--m=/a b/{count}; rm", "7", "{count}", "{print $1}", '{"a": {"b": 1}}']


@given(st.text(st.characters(exclude_characters="\0{}")), st.text())
def test_any_value_comes_through(start: str, value: str) -> None:
    made = Words("command", ("run", f"{start}{{model}}"), ("model",)).filled({"model": value})
    assert made == ["run", start + value]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"command": []}, r"options\.command: the first word is the program"),
        ({"command": ["-x", "{model}"]}, r"the first word is the program, found \['-x'\]"),
        ({"command": ["run"]}, r"options\.command: it uses none of \{model\}"),
        ({"command": ["run", "{modle}"]}, r"\{modle\} is not known here. Known: \{model\}, \{count\}"),
        ({"command": ["run", "{model}\0"]}, r"NUL"),
        ({"command": "run {model}"}, r"options: command: Input should be a valid list"),
        ({"command": ["run", "{model}"], "prepare": ["p", "{model}", "{prepared}"]}, r"\{model\} is not known here"),
        ({"prepare": ["p", "{model}"], "command": ["run", "{prepared}"]}, r"options\.prepare: it uses none"),
        ({"outputs": ["o", "{model}"]}, r"options\.outputs: it uses none of \{output\}"),
        ({"unit": "sec"}, r"options: unit: .*'ns', 'us', 'ms' or 's' \(found 'sec'\)"),
        ({"unti": "ms"}, r"options: unti: Extra inputs"),
        ({"warmup": -1}, r"options: warmup"),
        ({"warmup": "3"}, r"options: warmup"),
        ({"timeout_s": 0.0}, r"options: timeout_s"),
        ({"latencies": "regex"}, r"'pattern' goes with"),
        ({"latencies": "regex", "pattern": "("}, r"not a regular expression"),
        ({"latencies": "regex", "pattern": "(a)(b)"}, r"at most one group"),
        ({"key": "a"}, r"'key' goes with latencies"),
        ({"runtime": ""}, r"runtime: not stated\. What is behind a command cannot be read"),
        ({"host": "-oProxyCommand=touch x"}, r"options: host"),
        ({"host": "a b"}, r"options: host"),
        ({"host": "me@-x"}, r"options: host"),
        ({"host": "h;reboot"}, r"options: host"),
        ({"folder": "tmp"}, r"options: folder"),
        ({"suffix": "../x"}, r"options: suffix"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CommandDevice(1, **{"command": ["run", "{model}"], **STATED, **options})


def test_no_thread_is_refused() -> None:
    with pytest.raises(InputError, match="threads = 0"):
        CommandDevice(0, command=PRINT, **STATED)


# Latencies


def test_one_number_a_line(tmp_path: Path) -> None:
    assert sampled(device(), tmp_path) == [500_000, 1_500_000, 2_500_000]


def test_of_more_latencies_than_asked_the_last_count(tmp_path: Path) -> None:
    more = [*script("[print(i + 1) for i in range(2 + int(a[1]))]"), "{model}", "{count}"]
    assert sampled(device(more), tmp_path) == [3_000_000, 4_000_000, 5_000_000]
    assert sampled(device(discard=2), tmp_path) == [2_500_000, 3_500_000, 4_500_000]


def test_the_command_gets_what_its_placeholders_name(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    code = "json.dump([open(a[0], 'rb').read().decode(), *a[1:]], open(a[-1], 'w')); print('1\\n' * int(a[3]))"
    words = [*script(code), "{model}", "{threads}", "{warmup}", "{count}", "{precision}", "{folder}", str(told)]
    made = CommandDevice(3, command=words, **STATED, warmup=7)
    assert len(sampled(made, tmp_path, 5)) == 5
    content, threads, warmup, count, precision, folder, _ = json.loads(told.read_text())
    assert (content, threads, warmup, count, precision) == ("bytes of a model", "3", "7", "5", "fp32")
    assert not Path(folder).exists()


def test_an_average_per_run_is_one_sample_each(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "open(a[2], 'a').write(a[1] + ' '); print('noise'); print('Inference (avg): 1.5e+02, Init: 9')"
    words = [*script(code), "{model}", "{count}", str(log)]
    pattern = r"Inference \(avg\): ([0-9.e+]+)"
    made = device(words, unit="us", latencies="regex", pattern=pattern, mean_of=50)
    assert sampled(made, tmp_path) == [150_000] * 3
    assert log.read_text() == "50 50 50 "


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("1\n\n 2.5 \n", {}, [10**6, 2_500_000]),
        ("[1, 2.5]", {"layout": "json"}, [10**6, 2_500_000]),
        ('{"a": {"b": [1, 2]}}', {"layout": "json", "key": "a.b"}, [10**6, 2 * 10**6]),
        ('[{"t": 1, "x": "-"}, {"t": 2}]', {"layout": "json", "key": "t"}, [10**6, 2 * 10**6]),
        ("3", {"layout": "json"}, [3 * 10**6]),
        ("x t=1ms t=2ms", {"layout": "regex", "pattern": "t=([0-9.]+)ms"}, [10**6, 2 * 10**6]),
        ("a\n12\n13", {"layout": "regex", "pattern": r"^\d+$"}, [12 * 10**6, 13 * 10**6]),
    ],
)
def test_layouts(text: str, options: dict[str, str], expected: list[int]) -> None:
    assert Reading(**{"layout": "lines", "unit": "ms", **options}).latencies(text, "it").tolist() == expected


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "it printed no latency, nor anything else"),
        ("Loading model...\n1\n", {}, "it: line 1 is no number: 'Loading model...'"),
        ("1 2", {}, "line 1 is no number"),
        ("nan", {}, "latency 1 of 1 is nan ms; latencies are positive and finite"),
        ("1\ninf", {}, "latency 2 of 2 is inf ms"),
        ("-1", {}, "is -1 ms"),
        ("0", {}, "is 0 ms; latencies are positive"),
        ("0.00001", {}, "is 1e-05 ms, which no call of a network takes. Is 'unit'"),
        ("4e6", {}, "is 4e.06 ms, which no call"),
        ("1e400", {}, "is inf ms"),
        ("{", {"layout": "json"}, "did not print JSON"),
        ("[" * 100_000, {"layout": "json"}, "did not print JSON"),
        ("[]", {"layout": "json"}, "printed no latency"),
        ('{"a": 1}', {"layout": "json", "key": "b"}, "its JSON has no 'b' in"),
        ('["1.x"]', {"layout": "json"}, "value 1 is no number: '1.x'"),
        ("[true]", {"layout": "json"}, "value 1 is no number: True"),
        ("[null]", {"layout": "json"}, "value 1 is no number: None"),
        ("[NaN]", {"layout": "json"}, "is nan ms"),
        ("1" + "0" * 400, {"layout": "json"}, "value 1 is no number"),
        ("no times here", {"layout": "regex", "pattern": "t=(.*)ms"}, "printed no latency: 'no times here'"),
        ("t=fastms", {"layout": "regex", "pattern": "t=(.*)ms"}, "match 1 of the pattern is no number: 'fast'"),
    ],
)
def test_what_is_no_latency_is_refused_and_shown(text: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(DeviceError, match=message) as caught:
        Reading(**{"layout": "lines", "unit": "ms", **options}).latencies(text, "it")
    assert len(str(caught.value)) < 500


def test_a_report_file_or_stderr_may_hold_them(tmp_path: Path) -> None:
    report = [*script("open(a[1], 'w').write('[{\"ms\": 2}]'); print('log')"), "{model}", "{report}"]
    assert sampled(device(report, latencies="json", key="ms"), tmp_path, 1) == [2_000_000]
    stderr = [*script("print('log'); print('2', file=sys.stderr)"), "{model}"]
    assert sampled(device(stderr, stream="stderr"), tmp_path, 1) == [2_000_000]
    with pytest.raises(DeviceError, match=r"wrote no file \{report\}: log"):
        sampled(device([*script("print('log')"), "{model}", "{report}"]), tmp_path, 1)


# Failures


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "[print(i, file=sys.stderr) for i in range(9)]; sys.exit(7)",
            r"options\.command: .* exited with status 7: 6 / 7 / 8",
        ),
        ("sys.exit(1)", r"exited with status 1 and said nothing"),
        ("print('out'); sys.exit(1)", r"exited with status 1: out"),
        ("raise ValueError('bad model')", r"exited with status 1: .*ValueError: bad model"),
        ("os.kill(os.getpid(), 9)", r"was ended by signal 9"),
        ("pass", r"printed no latency, nor anything else"),
        ("print(1)", r"printed 1 latencies, 3 were asked"),
        ("print('1000\\n' * 3)", r"its 3 latencies add up to 3 s, it took 0\.\d+ s\. Is 'unit'"),
        ("sys.stderr.buffer.write(b'\\xff\\xfe' * 999); sys.exit(2)", r"exited with status 2: \.\.\."),
    ],
)
def test_a_command_that_fails_is_told_with_a_part_of_what_it_said(code: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=message) as caught:
        sampled(device([*script(code), "{model}"]), tmp_path)
    assert len(str(caught.value)) < 700
    assert "\n" not in str(caught.value)


def test_a_timeout_ends_the_command_and_its_children(tmp_path: Path) -> None:
    code = "import subprocess as s; s.Popen(['sleep', '600']); print('x', file=sys.stderr, flush=True); time.sleep(600)"
    before = psutil.Process().children(recursive=True)
    with pytest.raises(DeviceError, match=r"took longer than 0\.5 s and was ended.*'timeout_s'"):
        sampled(device([*script(code), "{model}"], timeout_s=0.5), tmp_path)
    assert set(psutil.Process().children(recursive=True)) <= set(before)


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    made = device(["no-such-program-anywhere", "{model}"])
    with pytest.raises(
        DeviceError, match="'no-such-program-anywhere' of the device's file is not on this machine's PATH"
    ):
        made.facts()
    with pytest.raises(DeviceError, match="cannot start 'no-such-program-anywhere'"):
        sampled(made, tmp_path)


def test_nothing_is_left_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    sampled(device(folder=str(folder)), tmp_path)
    with pytest.raises(DeviceError):
        sampled(device([*script("sys.exit(1)"), "{model}"], folder=str(folder)), tmp_path)
    assert list(folder.iterdir()) == []
    with pytest.raises(BinasError, match="cannot write"):
        sampled(device(folder=str(tmp_path / "gone")), tmp_path)


# Outputs

OUTPUTS = [*script("d = open(a[1], 'rb').read(); open(a[2], 'wb').write(d[:4] * 3)"), "{model}", "{input}", "{output}"]


def outputs_of(made: CommandDevice, tmp_path: Path) -> list[float]:
    with made.load(made.compile(MODEL, precision=Precision.FP32, cache=tmp_path)) as executable:
        found: list[float] = executable.run(FEED)[OUTPUT_NAME].ravel().tolist()
    return found


def test_outputs_by_a_command_of_their_own(tmp_path: Path) -> None:
    assert outputs_of(device(outputs=OUTPUTS, arrays="raw"), tmp_path) == [1.5] * 3


def test_without_one_it_only_times_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoOutputsError, match="no 'outputs' command"):
        outputs_of(device(), tmp_path)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("pass", r"wrote no file \{output\}"),
        ("sys.exit(1)", r"options\.outputs: .* exited with status 1"),
        ("open(a[1], 'wb').write(b'12345')", r"no raw file of \(1, 3\) float32 numbers \(5 bytes\)"),
        ("open(a[1], 'wb').write(b'1234')", r"no raw file"),
        ("open(a[1], 'wb')", r"no raw file"),
    ],
)
def test_outputs_that_are_none_are_refused(code: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=message):
        outputs_of(device(outputs=[*script(code), "{model}", "{output}"], arrays="raw"), tmp_path)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x93NUMPY\x01\x00", b"no", packed(np.array([["a"]]), "npy"), packed(np.zeros(4, np.float32), "npy")],
)
def test_a_file_that_is_no_npy(payload: bytes) -> None:
    with pytest.raises(DeviceError, match=r"no npy file of \(1, 3\)"):
        unpacked(payload, "npy", (1, 3))


def test_arrays_come_back_as_they_went() -> None:
    array = np.arange(6, dtype=np.float32).reshape(1, 2, 3).transpose(0, 2, 1)
    for arrays in ("npy", "raw"):
        assert np.array_equal(unpacked(packed(array, arrays), arrays, (1, 3, 2)), array)


# Preparing


def preparing(log: Path) -> list[str]:
    code = f"open({str(log)!r}, 'a').write('.'); open(a[1], 'wb').write(open(a[0], 'rb').read().upper())"
    return [*script(code), "{model}", "{prepared}", "{precision}"]


SHOW = [
    *script("print(len(open(a[0], 'rb').read())); sys.exit(open(a[0], 'rb').read() != b'BYTES OF A MODEL')"),
    "{prepared}",
]


def test_a_model_is_prepared_once_and_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    made = device(SHOW, prepare=preparing(log), suffix=".engine")
    assert sampled(made, tmp_path, 1) == sampled(made, tmp_path, 1) == [16_000_000]
    assert log.read_text() == "."
    (kept,) = (tmp_path / "command").iterdir()
    assert kept.suffix == ".engine"
    assert sampled(device(SHOW, prepare=preparing(log), suffix=".engine", runtime_version="4"), tmp_path, 1)
    assert log.read_text() == "..", "another runtime prepares anew"


def test_a_script_that_was_changed_prepares_anew(tmp_path: Path) -> None:
    tool, log = tmp_path / "tool.py", tmp_path / "log"
    copy = "open(sys.argv[2], 'wb').write(open(sys.argv[1], 'rb').read().upper())"
    text = f"import sys\nopen({str(log)!r}, 'a').write('.')\n{copy}\n"
    made = device(SHOW, prepare=[sys.executable, "-S", "-E", str(tool), "{model}", "{prepared}"])
    for comment, runs in (("", "."), ("", "."), ("# other\n", "..")):
        tool.write_text(text + comment)
        sampled(made, tmp_path, 1)
        assert log.read_text() == runs


def test_preparing_that_fails_keeps_nothing(tmp_path: Path) -> None:
    for code, message in (
        ("sys.exit(3)", "options.prepare: .* exited with status 3"),
        ("pass", r"wrote no file \{prepared\}"),
    ):
        with pytest.raises(DeviceError, match=message):
            sampled(device(SHOW, prepare=[*script(code), "{model}", "{prepared}"]), tmp_path)
    assert not (tmp_path / "command").exists()


def test_a_precision_that_is_not_stated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"precision 'fp16': options.precisions says that the command computes in fp32"
    ):
        device().compile(MODEL, precision=Precision.FP16, cache=tmp_path)
    device(precisions=["fp16"]).compile(MODEL, precision=Precision.FP16, cache=tmp_path)


# Facts


def test_what_is_stated_is_marked_as_stated() -> None:
    facts = device(warmup=9).facts()
    assert (facts.identity["device_model"], facts.identity["runtime_version"]) == ("a board", "3")
    assert facts.identity["stated_by"] == "the device's file"
    assert "warmup=9" in facts.identity["provider_options"]
    assert not facts.simulated
    assert facts.identity != device(warmup=8).facts().identity


def test_a_facts_command_tells_more_and_is_marked_so() -> None:
    told = {"device_model": "read", "power_mode": 15, "context": {"clock_mhz": 2000.5}}
    facts = device(facts=script(f"print(json.dumps({told!r}))")).facts()
    assert (facts.identity["device_model"], facts.identity["runtime"]) == ("read", "own")
    assert (facts.identity["power_mode"], facts.context["clock_mhz"]) == ("15", "2000.5")
    assert facts.identity["stated_by"] == "the facts command and the device's file"
    told.update(runtime="own", runtime_version=4)
    facts = device(facts=script(f"print(json.dumps({told!r}))")).facts()
    assert (facts.identity["stated_by"], facts.identity["runtime_version"]) == ("the facts command", "4")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('{}')", "no device_model, runtime, runtime_version"),
        ("print('no')", "did not print JSON"),
        ("print('[]')", "no JSON object"),
        ("print(json.dumps(dict(device_model=['x'])))", "device_model: a text or a number is needed"),
        ("print(json.dumps(dict(threads=9)))", "threads: not for the facts command"),
        ("print(json.dumps(dict(context=1)))", "context: not for the facts command"),
        ("sys.exit(1)", "options.facts: .* exited with status 1"),
    ],
)
def test_facts_that_are_none_are_refused(code: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        CommandDevice(1, command=PRINT, unit="ms", facts=script(code)).facts()


# Measuring


def test_a_visit_is_one_run_of_the_command(tmp_path: Path) -> None:
    log = tmp_path / "log"
    words = [
        *script("open(a[2], 'a').write(a[1] + ' '); [print(1) for _ in range(int(a[1]))]"),
        "{model}",
        "{count}",
        str(log),
    ]
    made = device(words)
    program = made.compile(MODEL, precision=Precision.FP32, cache=tmp_path)
    with made.load(program) as executable:
        subject = Subject("a", lambda: contextlib.nullcontext(executable), FEED)
        timing = Timing(warmup_ms=5.0, samples_per_visit=4, visit_ms=1000.0, min_rounds=3, max_rounds=3)
        measured = measure([subject], timing=timing, rng=np.random.default_rng(0), sentinel="a")
        assert log.read_text().split() == ["2", "4", "4", "4"], "two settle how many fit, and no warm-up"
        assert measured.samples("a").size == 12
        rhythm = Timing(period_ms=5.0, samples_per_visit=2, min_rounds=2, max_rounds=2)
        with pytest.raises(InputError, match="cannot be called in a rhythm"):
            measure([subject], timing=rhythm, rng=np.random.default_rng(0), sentinel="a")


def test_the_command_s_own_work_is_no_contention(tmp_path: Path) -> None:
    before = _own_seconds()
    busy = "any(time.process_time() > 0.3 for _ in iter(int, 1)); print('1\\n' * 3)"
    sampled(device([*script(busy), "{model}"]), tmp_path)
    assert _own_seconds() - before >= 0.25
