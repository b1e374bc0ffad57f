"""A real OpenSSH server on this machine's loopback, for tests of remote devices: its own keys, an unprivileged port.

Nothing of the user's or the system's ssh is used or changed: all is in one folder, and ends with the context.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from binas_deploy.errors import EnvironmentFault

HOST: Final = "binas-loopback"
"""What the client's configuration calls the server."""
_SYSTEM_FOLDERS: Final = "/usr/sbin:/usr/local/sbin:/sbin"
_START_SECONDS: Final = 20.0
_PRIVILEGE_SEPARATION: Final = Path("/run/sshd")


@dataclass(frozen=True)
class LoopbackSsh:
    """A running server. ``bin`` holds an ``ssh`` that knows it by `HOST`: put it first on the PATH."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def bin(self) -> Path:
        """Where its ``ssh`` is."""
        return self.folder / "bin"

    @property
    def known_hosts(self) -> Path:
        """The client's file of host keys."""
        return self.folder / "known_hosts"

    def cut(self) -> int:
        """Kill the server's side of all connections, as a broken link does; how many there were."""
        import psutil

        found = psutil.Process(self.process.pid).children()
        for child in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        return len(found)


def missing_server() -> str:
    """Why there can be no server here; empty where there can."""
    if os.name != "posix":
        return "not a POSIX system"
    absent = [name for name in ("sshd", "ssh", "ssh-keygen") if _program(name) is None]
    return f"{', '.join(absent)} not installed (openssh-server, openssh-client)" if absent else ""


@contextlib.contextmanager
def loopback_ssh(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[LoopbackSsh]:
    """A server that lets this user in by a new key; commands there have ``environment`` besides.

    Raises:
        EnvironmentFault: there is no OpenSSH server here, or it does not start.
    """
    if why := missing_server():
        raise EnvironmentFault(f"no ssh server can be started: {why}.")
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    _make_keys(folder, port)
    _write_client(folder, port)
    configuration = _write_server(folder, port, environment or {})
    log = (folder / "sshd.log").open("wb")
    with log, subprocess.Popen([_found("sshd"), "-D", "-e", "-f", str(configuration)], stderr=log) as process:
        server = LoopbackSsh(folder, port, process)
        try:
            _await(server)
            yield server
        finally:
            server.cut()
            process.terminate()


def _make_keys(folder: Path, port: int) -> None:
    for name in ("host_key", "user_key"):
        command = [_found("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    (folder / "authorized_keys").write_text((folder / "user_key.pub").read_text(), encoding="utf-8")
    kind, key, *_ = (folder / "host_key.pub").read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n", encoding="utf-8")


def _write_client(folder: Path, port: int) -> None:
    (folder / "ssh_config").write_text(
        f"Host {HOST}\n  HostName 127.0.0.1\n  Port {port}\n  User {_user()}\n  IdentityFile {folder}/user_key\n"
        f"  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known_hosts\n  GlobalKnownHostsFile /dev/null\n",
        encoding="utf-8",
    )
    (folder / "bin").mkdir()
    program = folder / "bin" / "ssh"
    program.write_text(f'#!/bin/sh\nexec {_found("ssh")} -F {folder}/ssh_config "$@"\n', encoding="utf-8")
    program.chmod(0o755)


def _write_server(folder: Path, port: int, environment: Mapping[str, str]) -> Path:
    lines = [
        "ListenAddress 127.0.0.1",
        f"Port {port}",
        f"HostKey {folder}/host_key",
        f"AuthorizedKeysFile {folder}/authorized_keys",
        "PidFile none",
        "StrictModes no",
        "UsePAM no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password",
        "LogLevel VERBOSE",
    ]
    if environment:
        lines.append("SetEnv " + " ".join(f'"{name}={value}"' for name, value in environment.items()))
    path = folder / "sshd_config"
    if os.geteuid() == 0:
        _PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
    # Servers that shut out who is cut off often; others do not know the word.
    for more in (["PerSourcePenalties no"], []):
        path.write_text("\n".join([*lines, *more]) + "\n", encoding="utf-8")
        if subprocess.run([_found("sshd"), "-t", "-f", str(path)], capture_output=True, check=False).returncode == 0:
            return path
    said = subprocess.run([_found("sshd"), "-t", "-f", str(path)], capture_output=True, text=True, check=False).stderr
    raise EnvironmentFault(f"the ssh server does not take {path}: {said.strip()}")


def _await(server: LoopbackSsh) -> None:
    give_up = time.monotonic() + _START_SECONDS
    while server.process.poll() is None and time.monotonic() < give_up:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), 1):
            return
        time.sleep(0.02)
    said = (server.folder / "sshd.log").read_text(errors="replace")[-500:]
    raise EnvironmentFault(f"the ssh server did not start: {said}")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SYSTEM_FOLDERS}")


def _found(name: str) -> str:
    found = _program(name)
    if found is None:
        raise EnvironmentFault(f"the program '{name}' is not installed.")
    return found
