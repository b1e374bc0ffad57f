"""TVM: a network compiled ahead of time, by a schedule of ours or tuned on the device, here or on a board.

The package is imported when facts are read or something is compiled, not before. Calls are timed by TVM's evaluator
where the program runs, one at a time and synchronised, so that neither Python nor a network in between counts.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from binas_deploy import __version__
from binas_deploy.adapters import host
from binas_deploy.adapters.base import DeviceFacts, Precision, Program
from binas_deploy.adapters.tvm import build, schedule, tuning
from binas_deploy.adapters.tvm.machine import Board, Here, address_of
from binas_deploy.adapters.tvm.program import RUNTIME, LoadedProgram
from binas_deploy.adapters.tvm.target import HOST, TargetText
from binas_deploy.documents import digest, write_atomic
from binas_deploy.errors import DeviceError, InputError
from binas_deploy.model import OnnxModel

_BINDING: Final = "TVM_BIND_THREADS"
_DIGITS: Final = 16
_COMPILING: Final = threading.Lock()
"""One compilation at a time: tunings would time one another, and what TVM prints is kept off for the whole process."""


class TvmDevice:
    """``threads`` compute threads on ``target``, here or on a board that an RPC ``tracker`` has under ``key``.

    ``trials``: candidates that are tried for each kernel, 0 for our own schedule alone. ``linker``: the compiler that
    links for the device ('' : this machine's own for this machine, the board's for a board).

    Raises:
        InputError: no threads, fewer than 0 trials, a target or tracker of another form, or one half of a board.
    """

    def __init__(
        self,
        threads: int,
        *,
        target: str = HOST,
        trials: int = 0,
        linker: str = "",
        tracker: str = "",
        key: str = "",
    ) -> None:
        if threads < 1 or trials < 0:
            raise InputError(f"threads = {threads}, trials = {trials}: give at least 1 thread, and 0 or more trials.")
        if bool(tracker) != bool(key):
            raise InputError(f"tracker = {tracker!r}, key = {key!r}: a board needs both, this machine neither.")
        self._address = address_of(tracker) if tracker else None
        self._threads, self._trials, self._linker = threads, trials, linker
        self._tracker, self._key = tracker, key
        self._asked = TargetText.parse(target)
        if tracker and self._asked.host_cpu:
            raise InputError(f"target = {target!r}: name the board's CPU, as in 'llvm -mcpu=... -mtriple=...'.")
        self._tuned = ""

    def facts(self) -> DeviceFacts:
        """CPU or accelerator, runtime and settings.

        Raises:
            MissingExtraError: apache-tvm is not installed.
            InputError: more threads than this process may use.
            DeviceError: the target or the board is not there.
        """
        version, tvm = RUNTIME.version(), _imported()
        if not self._tracker:
            host.require_threads(self._threads)
        with RUNTIME.translated(f"cannot use the target '{self._asked}'"):
            target = self._target(tvm)
            model, kind, options = self._model(tvm, target), str(target.kind.name), self._options(tvm)
        facts = RUNTIME.facts(version, device_model=model, provider=kind, options=options, threads=self._threads)
        tuned = {"tuning_sha256": self._tuned} if self._tuned else {}
        return DeviceFacts(facts.identity, {**facts.context, **tuned})

    def compile(self, model: OnnxModel, *, precision: Precision, cache: Path) -> Program:
        """A library of machine code, kept in ``cache``: compiling takes seconds, and minutes with ``trials``.

        Raises:
            InputError: a precision other than fp32.
            MissingExtraError: apache-tvm is not installed.
            DeviceError: TVM does not have an operator, or nothing here links.
        """
        RUNTIME.require_fp32(precision)
        tvm = _imported()
        with _COMPILING:
            with RUNTIME.translated(f"cannot compile model {model.sha256[:12]}"):
                folder = cache / "tvm" / self._digest(tvm)
                path = folder / f"{model.sha256}{Path(self._file).suffix}"
                payload = path.read_bytes() if path.is_file() else self._compiled(tvm, model, folder)
                self._tuned = self._tuning(folder).digest() if self._trials else ""
            if not path.is_file():
                write_atomic(path, payload)
        return Program(model.sha256, payload)

    @contextmanager
    def load(self, program: Program) -> Iterator[LoadedProgram]:
        """A program, ready to be called.

        Raises:
            MissingExtraError: apache-tvm is not installed.
            DeviceError: TVM cannot load it, or the device is not there.
        """
        tvm = _imported()
        with ExitStack() as stack:
            with RUNTIME.loading(program):
                machine, kind = self._opened(tvm), int(self._target(tvm).get_target_device_type())
                module = stack.enter_context(machine.opened(program.payload, self._file))
                loaded = LoadedProgram(tvm, machine, module, kind, self._threads)
            yield stack.enter_context(closing(loaded))

    def _compiled(self, tvm: Any, model: OnnxModel, folder: Path) -> bytes:
        target, link = self._target(tvm), self._link(tvm)
        module = build.kernels(tvm, build.imported(model.payload), target)
        if self._trials:
            Board.let_go(self._tracker, self._key)  # a tuning asks the tracker for the board itself
            module = self._tuning(folder).applied(tvm, module, target)
        module = schedule.scheduled(tvm, module, target, parallel=self._threads > 1)
        return build.library(tvm, module, target, link, self._file)

    def _tuning(self, folder: Path) -> tuning.Tuning:
        runner = tuning.here if self._address is None else partial(tuning.on_board, self._address, self._key)
        return tuning.Tuning(folder / "kernels", self._trials, self._threads, runner)

    def _link(self, tvm: Any) -> Any:
        if self._linker:
            return tvm.support.cc.cross_compiler(self._linker)
        if self._file == build.LIBRARY and tvm.support.cc.get_cc() is None:
            raise DeviceError("no C++ compiler is there to link with. Install g++ or clang, or set CXX.")
        return None

    @property
    def _file(self) -> str:
        return build.OBJECTS if self._tracker and not self._linker else build.LIBRARY

    def _opened(self, tvm: Any) -> Here | Board:
        return Board.held(self._tracker, self._key) if self._tracker else Here(tvm)

    def _target(self, tvm: Any) -> Any:
        return self._asked.resolved(tvm, self._threads).of(tvm)

    def _model(self, tvm: Any, target: Any) -> str:
        if target.kind.name == HOST:
            return self._opened(tvm).cpu()
        device = self._opened(tvm).device(int(target.get_target_device_type()))
        if not device.exist:
            raise DeviceError(f"there is no device for the target '{self._asked}'")
        return str(device.device_name)

    def _options(self, tvm: Any) -> dict[str, object]:
        """What latencies depend on besides the machine."""
        tuned = {"tuner": f"{tuning.cost_model()}-{tuning.SEED}"} if self._trials else {}
        place = {"rpc": self._key} if self._tracker else {"bind": os.environ[_BINDING]}
        fixed = {"schedule": schedule.VERSION, "timer": "evaluator", "trials": self._trials}
        return {"target": self._asked.resolved(tvm, self._threads), **fixed, **tuned, **place}

    def _digest(self, tvm: Any) -> str:
        """Names the folder of everything that is compiled alike."""
        settings = {name: str(value) for name, value in self._options(tvm).items()}
        machine, linked = self._key or host.cpu_model(), f"{self._file} {self._linker}"
        found = {"tool": __version__, "tvm": RUNTIME.version(), "machine": machine, "linked": linked}
        return digest({**settings, **found, "threads": self._threads})[:_DIGITS]


def _imported() -> Any:
    # Else TVM ties threads to cores, the calling one too, and whatever this process measures next stays there.
    os.environ.setdefault(_BINDING, "0")
    return RUNTIME.imported()
