"""The way to another machine: the system's own ``ssh``; the user's configuration, keys and jump hosts as they are."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Final

from binas_deploy.errors import BinasError, DeviceError, EnvironmentFault, InputError
from binas_deploy.remote.plain import plain

AGENT_FOLDER: Final = ".local/share/binas-deploy/agent"
"""Where `devices setup` puts the agent, in the home folder of the user there."""
HOST: Final = r"^[A-Za-z0-9_:][A-Za-z0-9_.:%-]{0,252}$"
USER: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.\\@+-]{0,63}$"
REMOTE_PATH: Final = r"^[A-Za-z0-9_./][A-Za-z0-9_./+@ -]{0,250}$"
"""Of a name, a path: none begins as an option does, none means anything to a shell."""
_FORCED: Final = {
    "BatchMode": "yes",  # nobody is there to type a password
    "StrictHostKeyChecking": "yes",
    "ServerAliveInterval": "15",
    "ServerAliveCountMax": "3",
    "ConnectTimeout": "20",
    "ControlPath": "none",  # a shared connection was checked by other rules, and dies with whoever made it
    "ClearAllForwardings": "yes",
    "RemoteCommand": "none",
    "RequestTTY": "no",
}
_SSH_FAILED: Final = 255
_NOT_FOUND: Final = (126, 127)
_PASSING: Final = re.compile(
    r"timed out|refused|reset by|No route to host|unreachable|closed by|Broken pipe|resolve hostname|"
    r"kex_exchange_identification|Connection closed|Host is down|lost connection",
    re.IGNORECASE,
)
_SHOWN_LINES: Final = 4


class Unreachable(DeviceError):
    """The machine cannot be reached at the moment; it may be soon."""


@dataclass(frozen=True)
class SshTarget:
    """A machine as its device file names it; ``name`` is what commands call it.

    Raises:
        InputError: a host, user or path that would be taken for something else.
    """

    host: str
    user: str | None = None
    port: int | None = None
    python: str = "python3"
    agent: str = AGENT_FOLDER
    name: str = ""

    def __post_init__(self) -> None:
        checks = ((HOST, self.host, "host"), (USER, self.user, "user"))
        paths = ((REMOTE_PATH, self.python, "python"), (REMOTE_PATH, self.agent, "agent"))
        for pattern, text, what in (*checks, *paths):
            if text is not None and not re.fullmatch(pattern, text):
                raise InputError(f"ssh.{what}: {text!r} cannot be used; it must match {pattern}.")

    @classmethod
    def parse(
        cls, text: str, *, port: int | None = None, python: str = "python3", agent: str = AGENT_FOLDER
    ) -> SshTarget:
        """From HOST or USER@HOST. Raises InputError as the class."""
        user, at, host = text.rpartition("@")
        return cls(host, user if at else None, port, python, agent, text)

    @property
    def address(self) -> str:
        """How ssh is told to go there."""
        return f"{self.user}@{self.host}" if self.user else self.host

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"{self.name} ({self.address})" if self.name not in ("", self.address) else self.address

    def command(self, *words: str) -> list[str]:
        """The arguments that run a command there; its words are quoted for the shell there."""
        forced = [word for option, value in _FORCED.items() for word in ("-o", f"{option}={value}")]
        return ["ssh", "-T", *forced, *self._where(), "--", self.host, shlex.join(words)]

    def agent_command(self) -> list[str]:
        """The arguments that start the agent there."""
        return self.command(f"{self.agent}/bin/binas-deploy", "agent")

    def _where(self) -> list[str]:
        user = ["-l", self.user] if self.user else []
        return [*user, *(["-p", str(self.port)] if self.port else [])]

    def by_hand(self, program: str, *options: str, then: str = "") -> str:
        """A command line for a person to type."""
        port = ["-p", str(self.port)] if self.port else []
        return shlex.join([program, *options, *port, self.address, *([then] if then else [])])

    def fault(self, code: int | None, said: str, stray: str = "") -> BinasError:
        """Why ``ssh`` ended with ``code`` before anything was answered.

        ``said`` is what came on its stderr, ``stray`` what the machine printed on stdout instead of an answer.
        """
        told = _last_lines(said)
        known = self._refusal(said) if code == _SSH_FAILED else None
        if known is not None:
            return known
        if code in _NOT_FOUND:
            return EnvironmentFault(
                f"{self.label}: there is no agent in {self.agent} ({told or 'not found'}). "
                f"Install it with: binas-deploy devices setup {shlex.quote(self.name or self.address)}"
            )
        if _passes(code, said):
            told = told or "the connection ended without a word"
            return Unreachable(f"{self.label} cannot be reached: {told}. Is it on, and does `{self._try()}` work?")
        printed = f" It printed {plain(stray)[:200]!r} instead." if stray else ""
        return DeviceError(
            f"{self.label}: the connection ended (exit {code}) before an answer came: {told or 'nothing was said'}."
            f"{printed} Does `{self._try()}` work?"
        )

    def _refusal(self, said: str) -> BinasError | None:
        if "IDENTIFICATION HAS CHANGED" in said:
            forget = shlex.join(["ssh-keygen", "-R", f"[{self.host}]:{self.port}" if self.port else self.host])
            return EnvironmentFault(
                f"{self.label}: its host key is another one than before. If the machine was set up anew, forget the "
                f"old key with `{forget}`, then accept the new one with `{self._accept()}`. If not, somebody may be in "
                "between."
            )
        if "Host key verification failed" in said:
            return EnvironmentFault(
                f"{self.label}: its host key is not known here. Compare the fingerprint and accept it with: "
                f"{self._accept()}"
            )
        if "Permission denied" in said:
            return EnvironmentFault(
                f"{self.label} accepts none of your keys, and passwords are not asked for: {_last_lines(said)}. "
                f"Allow your key with `{self.by_hand('ssh-copy-id')}`; one with a passphrase has to be in your agent "
                "(`ssh-add`)."
            )
        return None

    def _try(self) -> str:
        return self.by_hand("ssh", then="true")

    def _accept(self) -> str:
        return self.by_hand("ssh", "-o", "StrictHostKeyChecking=ask", then="true")


def _passes(code: int | None, said: str) -> bool:
    """Whether it may go well a moment later: ssh said so, or was cut off or killed before it could say anything."""
    if code == _SSH_FAILED:
        return not said.strip() or _PASSING.search(said) is not None
    return code is None or code < 0


def no_ssh() -> EnvironmentFault:
    """There is no ``ssh`` on this machine."""
    return EnvironmentFault("remote devices need the program 'ssh'. Install OpenSSH's client (openssh-client).")


def _last_lines(said: str) -> str:
    lines = [line.strip() for line in plain(said).splitlines() if line.strip()]
    return "; ".join(lines[-_SHOWN_LINES:])
