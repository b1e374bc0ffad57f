"""What TVM compiles for, as text: 'llvm -mcpu=cortex-a72 -mtriple=aarch64-linux-gnu', 'cuda', or a tag of TVM's."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Any, Final

from binas_deploy.errors import InputError

HOST: Final = "llvm"
"""The machine that compiles, as LLVM names its CPU."""
_OPTION: Final = re.compile(r"--?([A-Za-z][A-Za-z0-9_-]*)=(\S+)")


@dataclass(frozen=True)
class TargetText:
    """A kind ('llvm', 'cuda') or a tag ('raspberry-pi/4b-aarch64') with its settings by name."""

    name: str
    options: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> TargetText:
        """Words: the name, then ``-option=value``.

        Raises:
            InputError: of another form.
        """
        name, *words = shlex.split(text) or [""]
        matches = {word: _OPTION.fullmatch(word) for word in words}
        wrong = [word for word, match in matches.items() if match is None]
        if wrong or not name or name.startswith("-"):
            raise InputError(
                f"target = {text!r}: found {(wrong or [name])[0]!r}. Write a kind or tag of TVM, then -option=value, "
                "as in 'llvm -mcpu=cortex-a72 -mtriple=aarch64-linux-gnu' or 'cuda -arch=sm_87'."
            )
        return cls(name, tuple(sorted((match[1], match[2]) for match in matches.values() if match)))

    @property
    def host_cpu(self) -> bool:
        """Whether this is the CPU of the machine that compiles, and LLVM is to say which that is."""
        return self.name == HOST and not {"mcpu", "mtriple"} & dict(self.options).keys()

    def resolved(self, tvm: Any, threads: int) -> TargetText:
        """With the host's CPU named where it is meant, and the cores that a tuning may assume."""
        more = {"mcpu": str(tvm.target.codegen.llvm_get_system_cpu())} if self.host_cpu else {}
        cores = {"num-cores": str(threads)} if self.name == HOST else {}
        return TargetText(self.name, tuple(sorted({**cores, **more, **dict(self.options)}.items())))

    def of(self, tvm: Any) -> Any:
        """The target itself, with LLVM as the host of one that is no CPU."""
        settings = {name: _value(name, text) for name, text in self.options}
        target = tvm.target.Target({("tag" if "/" in self.name else "kind"): self.name, **settings})
        return target if target.kind.name == HOST or target.host else target.with_host(HOST)

    def __str__(self) -> str:
        return " ".join([self.name, *(f"-{name}={value}" for name, value in self.options)])


def _value(name: str, text: str) -> int | str | list[str]:
    if name in ("mattr", "keys", "libs"):
        return text.split(",")
    return int(text) if text.isdecimal() else text
