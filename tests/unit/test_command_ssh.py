"""Commands over ssh. The ``ssh`` here is a script that does what OpenSSH does with a command line: it joins the words
after the host with spaces and gives them to a shell.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binas_deploy.adapters.base import Precision
from binas_deploy.adapters.command.device import CommandDevice
from binas_deploy.adapters.command.places import SshPlace, remote_line
from binas_deploy.errors import DeviceError
from binas_deploy.model import INPUT_NAME, OUTPUT_NAME, OnnxModel

MODEL = OnnxModel(b"bytes\0of\xffa model\n", (1, 2), (1, 3))
FEED = {INPUT_NAME: np.array([[1.5, -2.0]], np.float32)}
HOSTILE = [
    "",
    " ",
    "a b",
    "'",
    '"',
    'it\'s "this"',
    "$(touch owned)",
    "`touch owned`",
    "; touch owned",
    "&& touch owned",
    "| tee owned",
    "> owned",
    "\n touch owned \n",
    "$HOME",
    "~",
    "~root",
    "*",
    "?",
    "[a-z]",
    "{a,b}",
    "\\",
    "\\'",
    "#",
    "!",
    "-n",
    "--",
    "A=1",
    "\t",
    "ü€",
]
FAKE_SSH = """\
#!/bin/sh
while [ "$1" != "--" ]; do shift; done
shift; host=$1; shift
case $host in
  closed) echo "ssh: connect to host closed port 22: Connection refused" >&2; exit 255 ;;
  odd) echo "/etc/passwd"; exit 0 ;;
esac
cd "${0%/*}"
exec /bin/sh -c "$*"
"""


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands run in there."""
    folder = tmp_path / "remote"
    folder.mkdir()
    (folder / "ssh").write_text(FAKE_SSH)
    (folder / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def shell(words: list[str]) -> list[str]:
    """The arguments that a shell gives to the program of a remote line."""
    line = remote_line(["/usr/bin/printf", r"%s\0", *words])
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=True)
    return done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]


def test_hostile_words_arrive_as_they_are() -> None:
    assert shell(HOSTILE) == HOSTILE


@settings(max_examples=60)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_any_words_arrive_as_they_are(words: list[str]) -> None:
    assert shell(words) == words


@pytest.mark.parametrize("first", ["A=1", "if", "{", "!", "~/x", "a b", "cd;id"])
def test_the_first_word_is_a_program_whatever_it_looks_like(first: str, remote: Path) -> None:
    done = SshPlace("board", "", 10.0).run([first, "echo"], seconds=10.0)
    assert done.code in (126, 127)
    assert done.stdout == b""


def device(remote: Path, **options: Any) -> CommandDevice:
    code = "import sys; [print(0.25 * len(open(sys.argv[1], 'rb').read())) for _ in range(int(sys.argv[2]))]"
    command = [sys.executable, "-S", "-E", "-c", code, "{model}", "{count}", *HOSTILE]
    stated = {"unit": "ms", "device_model": "a board", "runtime": "own", "runtime_version": "3"}
    (remote / "tmp").mkdir(exist_ok=True)
    given = {
        "command": command,
        "host": "board",
        "folder": str(remote / "tmp"),
    }
    return CommandDevice(1, **{**given, **stated, **options})


def test_the_whole_way_over_ssh(remote: Path, tmp_path: Path) -> None:
    copy = "import sys; open(sys.argv[2], 'wb').write(open(sys.argv[1], 'rb').read()[:4] * 3)"
    made = device(
        remote,
        outputs=[sys.executable, "-S", "-E", "-c", copy, "{input}", "{output}"],
        arrays="raw",
    )
    with made.load(made.compile(MODEL, precision=Precision.FP32, cache=tmp_path)) as executable:
        assert executable.sample(FEED, count=3).tolist() == [len(MODEL.payload) * 250_000] * 3
        assert executable.run(FEED)[OUTPUT_NAME].tolist() == [[1.5] * 3]
        assert len(list((remote / "tmp").iterdir())) == 1
    assert list((remote / "tmp").iterdir()) == []
    assert not list(remote.rglob("owned"))
    facts = made.facts()
    assert (facts.context["host"], facts.identity["affinity"]) == ("board", "not read")
    assert facts.context["os"].startswith(os.uname().sysname)


def test_what_a_command_says_there_is_shown(remote: Path, tmp_path: Path) -> None:
    made = device(remote, command=["sh", "-c", "echo out of memory >&2; exit 4", "{model}"])
    with (
        made.load(made.compile(MODEL, precision=Precision.FP32, cache=tmp_path)) as executable,
        pytest.raises(DeviceError, match=r"'sh' on board exited with status 4: out of memory"),
    ):
        executable.sample(FEED, count=1)


def test_a_host_that_cannot_be_reached(remote: Path, tmp_path: Path) -> None:
    made = device(remote, host="closed")
    with pytest.raises(DeviceError, match=r"ssh closed failed: .*Connection refused.* 'ssh closed true' by hand"):
        made.facts()
    with (
        pytest.raises(DeviceError, match="ssh closed failed"),
        made.load(made.compile(MODEL, precision=Precision.FP32, cache=tmp_path)),
    ):
        pass


def test_an_answer_that_is_no_new_folder_is_never_removed(remote: Path) -> None:
    with (
        pytest.raises(DeviceError, match=r"asked for a new folder .*answered '/etc/passwd'"),
        SshPlace("odd", "", 10.0).folder(),
    ):
        pass


def _lose_and_fail(remote: Path) -> None:
    (remote / "ssh").write_text("#!/bin/sh\nexit 255\n")
    raise KeyError("of the caller")


def test_a_link_lost_at_the_end_hides_no_error(remote: Path, tmp_path: Path) -> None:
    made = device(remote)
    with (
        pytest.raises(KeyError),
        made.load(made.compile(MODEL, precision=Precision.FP32, cache=tmp_path)),
    ):
        _lose_and_fail(remote)


def test_no_ssh_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="cannot start 'uname' on board"):
        CommandDevice(
            1, command=["x", "{model}"], unit="ms", host="board", device_model="a", runtime="b", runtime_version="c"
        ).facts()
