"""A Python in which ONNX Runtime does real extra work in every call, for testing what notices that it got slower.

It is an interpreter as `steps.check_process` starts one: a script that changes ONNX Runtime and then runs the words it
was given after ``-c``. Nothing scales a clock: what it adds takes time on the CPU.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

_SCRIPT: Final = """\
#!{python}
import sys
import onnxruntime

def slowed(call, again, loops):
    def run_with_iobinding(self, *given, **named):
        found = call(self, *given, **named)
        for _ in range(again):
            call(self, *given, **named)
        for _ in range(loops):
            pass
        return found
    return run_with_iobinding

session = onnxruntime.InferenceSession
session.run_with_iobinding = slowed(session.run_with_iobinding, {again}, {loops})
onnxruntime.__version__ = {version!r} or onnxruntime.__version__
code = sys.argv[2]
sys.argv = ["-c", *sys.argv[3:]]
exec(compile(code, "<string>", "exec"), {{"__name__": "__main__"}})
"""


def slowed_python(folder: Path, *, again: int = 0, loops: int = 0, version: str = "") -> Path:
    """Write such an interpreter into ``folder``.

    Every call runs the network ``again`` more times, and an empty loop of so many turns; ``version`` is what it says of
    itself, where it is to stand for another one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "python"
    text = _SCRIPT.format(python=sys.executable, again=again, loops=loops, version=version)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path
