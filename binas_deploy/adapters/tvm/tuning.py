"""MetaSchedule: each kernel is tuned once, on the device, and keeps the schedule that was found.

One folder holds what was found for one device under one set of options, a folder for each kernel in it, which appears
when its tuning is complete. So a kernel has the same schedule in every network, and an interruption costs one kernel.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from binas_deploy.adapters.tvm.target import HOST
from binas_deploy.errors import DeviceError

SEED: Final = 0
_PER_ROUND: Final = 64
_TIMED_MS: Final = 40
_THREADS: Final = "TVM_NUM_THREADS"


def here(search: Any, how: Any) -> Any:
    """What times candidates on this machine."""
    return search.runner.LocalRunner(evaluator_config=how)


def on_board(address: tuple[str, int], key: str, search: Any, how: Any) -> Any:
    """What times candidates on a board of the tracker at ``address``."""
    config = search.runner.RPCConfig(tracker_host=address[0], tracker_port=address[1], tracker_key=key)
    return search.runner.RPCRunner(config, how, max_workers=1)


def cost_model() -> str:
    """What chooses the candidates to try: 'xgb' where xgboost is installed, else 'random'."""
    return "xgb" if importlib.util.find_spec("xgboost") else "random"


@dataclass(frozen=True)
class Tuning:
    """``trials`` candidates for each kernel, timed with ``threads`` by what ``runner`` makes; kept in ``folder``."""

    folder: Path
    trials: int
    threads: int
    runner: Callable[[Any, Any], Any]

    def applied(self, tvm: Any, module: Any, target: Any) -> Any:
        """``module`` with its kernels scheduled as tuned, after tuning those that are new.

        A kernel for which no candidate worked stays as it is.
        """
        _require_fitting_base()
        from tvm.s_tir import meta_schedule as search
        from tvm_ffi import structural_hash

        found = search.database.MemoryDatabase()
        for task in search.relax_integration.extract_tasks(module, target, params={}):
            kernel = task.dispatched[0]
            kept = self.folder / f"{structural_hash(kernel) & (2**64 - 1):016x}"
            if not kept.is_dir():
                self._tune(search, kernel, task, kept)
            _adopt(search, found, kept, kernel, target)
        with target, found:
            return tvm.relax.transform.MetaScheduleApplyDatabase()(module)

    def digest(self) -> str:
        """SHA-256 (hex) of all that was found so far."""
        text = hashlib.sha256()
        for path in sorted(self.folder.glob("*/database_*.json")):
            text.update(f"{path.parent.name}/{path.name}\n".encode() + path.read_bytes())
        return text.hexdigest()

    def _tune(self, search: Any, kernel: Any, task: Any, kept: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".new-", dir=self.folder) as folder, _environment(_THREADS, str(self.threads)):
            work = Path(folder, "kernel")
            work.mkdir()
            search.tune_tasks(
                tasks=[_context(search, kernel, task)],
                task_weights=[1.0],
                work_dir=str(work),
                max_trials_global=self.trials,
                num_trials_per_iter=min(self.trials, _PER_ROUND),
                runner=self.runner(search, search.runner.EvaluatorConfig(number=1, repeat=1, min_repeat_ms=_TIMED_MS)),
                database=search.database.JSONDatabase(work_dir=str(work)),
                cost_model=cost_model(),
            )
            work.rename(kept)


def _require_fitting_base() -> None:
    """Refuse a build of TVM's base library that crashes this process as soon as a tuning starts."""
    builds = [importlib.metadata.version(name) for name in ("apache-tvm", "apache-tvm-ffi")]
    if builds[0].startswith("0.27.") and not builds[1].startswith("0.1.14"):
        raise DeviceError(
            f"apache-tvm {builds[0]} crashes when it tunes with apache-tvm-ffi {builds[1]}. "
            "Install the one it was built with: pip install 'apache-tvm-ffi==0.1.14.*'"
        )


def _context(search: Any, kernel: Any, task: Any) -> Any:
    # Left to find rules by the target, it takes those for 8-bit dot products on recent CPUs: kernels here are fp32.
    rules = HOST if task.target.kind.name == HOST else "from-target"
    space = search.space_generator.PostOrderApply(sch_rules=rules, postprocs=rules, mutator_probs=rules)
    return search.TuneContext(
        mod=kernel,
        target=task.target,
        space_generator=space,
        search_strategy="evolutionary",
        task_name=task.task_name,
        rand_state=SEED,
    ).clone()


def _adopt(search: Any, found: Any, kept: Path, kernel: Any, target: Any) -> None:
    """Take the best record of a kernel over."""
    stored = search.database.JSONDatabase(work_dir=str(kept))
    best = stored.query_tuning_record(kernel, target, "main")
    if best is not None:
        workload = found.commit_workload(kernel)
        found.commit_tuning_record(
            search.database.TuningRecord(best.trace, workload, best.run_secs, best.target, best.args_info)
        )


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """A variable for the processes that are started within; how else would they learn of it."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before
