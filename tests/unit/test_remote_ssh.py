"""How ssh is called, and what is made of its failures."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path

import pytest

from binas_deploy.devices import availability, load_device_spec
from binas_deploy.errors import BinasError, DeviceError, EnvironmentFault, InputError
from binas_deploy.remote.connection import Connection
from binas_deploy.remote.ssh import SshTarget, Unreachable

DEVICE = """\
format = "binas-deploy/device"
version = 1
name = "orin"
adapter = "onnxruntime"
transport = "ssh"
[ssh]
host = "10.0.0.7"
user = "nvidia"
port = 2222
"""


def test_the_command_forces_what_has_to_be_and_leaves_the_rest_to_the_user() -> None:
    command = SshTarget("orin", "nvidia", 2222).agent_command()
    assert command[0] == "ssh"
    options = {word for flag, word in itertools.pairwise(command) if flag == "-o"}
    assert {"StrictHostKeyChecking=yes", "BatchMode=yes", "ServerAliveInterval=15", "ServerAliveCountMax=3"} <= options
    assert not any(word.startswith(("UserKnownHostsFile", "IdentityFile", "ProxyJump")) for word in options)
    assert command[-7:-2] == ["-l", "nvidia", "-p", "2222", "--"]
    assert command[-2:] == ["orin", ".local/share/binas-deploy/agent/bin/binas-deploy agent"]
    bare = SshTarget("orin").command("true")
    assert "-l" not in bare
    assert "-p" not in bare


def test_words_are_quoted_for_the_shell_there() -> None:
    command = SshTarget("orin").command("/opt/my agent/x", "$(reboot)", "a'b")
    assert shlex.split(command[-1]) == ["/opt/my agent/x", "$(reboot)", "a'b"]


@pytest.mark.parametrize("host", ["-oProxyCommand=reboot", "", "a b", "a;b", "$(x)", "a\nb", "u@h", "a" * 300, "`x`"])
def test_hosts_that_are_none_are_refused(host: str) -> None:
    with pytest.raises(InputError, match=r"ssh\.host"):
        SshTarget(host)


@pytest.mark.parametrize("host", ["orin", "10.0.0.7", "fe80::1%eth0", "::1", "my_board.local", "A-1"])
def test_hosts_as_ssh_knows_them_are_taken(host: str) -> None:
    assert SshTarget(host).host == host


@pytest.mark.parametrize(
    ("user", "python", "agent"),
    [("-l", "python3", "a"), ("", "python3", "a"), ("u", "-c", "a"), ("u", "a;b", "a"), ("u", "python3", "~/a")],
)
def test_users_and_paths_that_mean_something_else_are_refused(user: str, python: str, agent: str) -> None:
    with pytest.raises(InputError):
        SshTarget("orin", user, None, python, agent)


def test_a_host_is_read_as_ssh_reads_it() -> None:
    found = SshTarget.parse("nvidia@orin", port=2222)
    assert (found.host, found.user, found.address, found.label) == ("orin", "nvidia", "nvidia@orin", "nvidia@orin")
    assert SshTarget.parse("orin").user is None
    with pytest.raises(InputError):
        SshTarget.parse("@orin")


FAULTS = [
    (
        "No ED25519 host key is known for 10.0.0.7 and you have\nHost key verification failed.",
        EnvironmentFault,
        "not known here.*ssh -o StrictHostKeyChecking=ask -p 2222 nvidia@10.0.0.7 true",
    ),
    (
        "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
        EnvironmentFault,
        r"another one than before.*ssh-keygen -R '\[10.0.0.7\]:2222'",
    ),
    (
        "nvidia@10.0.0.7: Permission denied (publickey,password).",
        EnvironmentFault,
        "ssh-copy-id -p 2222 nvidia@10.0.0.7",
    ),
    ("ssh: Could not resolve hostname orin: Name or service not known", Unreachable, "cannot be reached.*resolve"),
    ("ssh: connect to host 10.0.0.7 port 22: Connection refused", Unreachable, "ssh -p 2222 nvidia@10.0.0.7 true"),
    ("ssh: connect to host 10.0.0.7 port 22: No route to host", Unreachable, "cannot be reached"),
    ("Connection closed by 10.0.0.7 port 22", Unreachable, "cannot be reached"),
    ("/home/u/.ssh/config: line 3: Bad configuration option: hots", DeviceError, "Bad configuration option"),
    ("", Unreachable, "ended without a word"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "kind", "message"), FAULTS, ids=range(len(FAULTS)))
def test_what_ssh_says_becomes_what_to_do(said: str, kind: type[BinasError], message: str) -> None:
    found = SshTarget("10.0.0.7", "nvidia", 2222, name="orin").fault(255, said)
    assert type(found) is kind
    assert str(found).startswith("orin (nvidia@10.0.0.7)")
    with pytest.raises(kind, match=message):
        raise found


def test_an_absent_agent_says_how_to_install_it() -> None:
    with pytest.raises(EnvironmentFault, match="Install it with: binas-deploy devices setup orin"):
        raise SshTarget("10.0.0.7", name="orin").fault(127, "bash: line 1: .local: No such file or directory")


def test_what_comes_from_there_cannot_change_the_terminal() -> None:
    found = SshTarget("orin").fault(1, "\x1b[2J\x07red", "\x1b]0;title\x07")
    assert not any(char in str(found) for char in "\x1b\x07")


def test_a_device_file_leads_there(tmp_path: Path) -> None:
    path = tmp_path / "orin.toml"
    path.write_text(DEVICE, encoding="utf-8")
    spec = load_device_spec(path)
    assert spec.ssh is not None
    target = spec.ssh.target(spec.name)
    assert (target.address, target.port, target.name) == ("nvidia@10.0.0.7", 2222, "orin")
    assert spec.with_threads(4).ssh == spec.ssh


def test_no_ssh_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "orin.toml"
    path.write_text(DEVICE, encoding="utf-8")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert availability(load_device_spec(path)) == (
        False,
        "remote devices need the program 'ssh'. Install OpenSSH's client (openssh-client).",
    )
    with pytest.raises(EnvironmentFault, match="'ssh' cannot be started"):
        Connection(SshTarget("orin"))
