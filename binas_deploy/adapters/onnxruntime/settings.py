"""Settings of a session of ONNX Runtime: threads, spinning, how far a model is rewritten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from binas_deploy.adapters.onnxruntime.placement import RECORD, STRICT
from binas_deploy.errors import InputError

LEVELS: Final = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "layout": "ORT_ENABLE_LAYOUT",
    "all": "ORT_ENABLE_ALL",
}
_SPINNING: Final = "session.intra_op.allow_spinning"
_OURS: Final = (STRICT, RECORD, _SPINNING)
_ONLY_ERRORS: Final = 3


@dataclass(frozen=True)
class SessionSettings:
    """``threads`` inside an operator and ``inter_op`` operators at once; ``level`` is one of `LEVELS`.

    ``config``: more of the runtime's settings, by key.

    Raises:
        InputError: no threads, no such level, or a key that is not for a device's file to set.
    """

    threads: int
    allow_spinning: bool = False
    inter_op: int = 1
    level: str = "all"
    config: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.threads < 1 or self.inter_op < 1:
            raise InputError(
                f"threads = {self.threads}, inter_op_threads = {self.inter_op}: a device runs on at least 1 thread."
            )
        if self.level not in LEVELS:
            raise InputError(f"options.graph_optimization = {self.level!r}: give one of {', '.join(LEVELS)}.")
        if ours := [key for key in self.config if key in _OURS]:
            raise InputError(f"options.session_config: the tool itself sets {ours[0]!r}. Leave it out.")

    def facts(self, io: str) -> dict[str, object]:
        """What `made` sets, and how inputs and outputs are handed over."""
        return {
            "allow_spinning": int(self.allow_spinning),
            "execution": "sequential" if self.inter_op == 1 else "parallel",
            "graph_optimization": self.level,
            "inter_op": self.inter_op,
            "io": io,
            **self.config,
        }

    def made(self, package: Any, checks: Mapping[str, str]) -> Any:
        """As ONNX Runtime takes them; ``checks`` are keys of `placement`."""
        settings, mode = package.SessionOptions(), package.ExecutionMode
        settings.intra_op_num_threads = self.threads
        settings.inter_op_num_threads = self.inter_op
        settings.execution_mode = mode.ORT_SEQUENTIAL if self.inter_op == 1 else mode.ORT_PARALLEL
        settings.graph_optimization_level = getattr(package.GraphOptimizationLevel, LEVELS[self.level])
        settings.log_severity_level = _ONLY_ERRORS
        entries = {_SPINNING: int(self.allow_spinning), **self.config, **checks}
        for key, value in entries.items():
            settings.add_session_config_entry(key, str(value))
        return settings
