"""The exam and latency tables of an NVIDIA GPU, in one command and under ten minutes.

For torch on CUDA, and for TensorRT and TensorRT for RTX where they can be imported: the exam that every adapter sits, a
latency table of ``mobilenetv3`` at batch 1 and at batch 32, and its error on 40 networks that it has not seen (20
random, 20 searched, each in two fresh processes). Tables go to latency_tables/, figures to benchmarks/results/. After
each step all figures so far are written, and steps for which no time is left are named as such.

    python benchmarks/gpu_table.py [--dry-run] [--seconds 560] [--device NAME ...] [--batch N ...] [--space NAME|FILE]

It needs the sources, torch, onnx, numpy, scipy and click. What else the package imports may lie as wheels in the folder
--packages (default: build/wheels), which a machine with a network fills before:

    python benchmarks/gpu_table.py --wheels build/wheels [--python 3.11]

``--dry-run`` goes the same way on the CPU: torch's CPU side, few networks, nothing kept but what --workspace and
--results name. It shows that the script runs, and nothing about a GPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
CARRIED: Final = ROOT / "build" / "wheels"
UNPACKED: Final = ROOT / "build" / "gpu_packages"
NEEDED: Final = ("filelock", "pillow", "platformdirs", "psutil", "pydantic", "rich", "safetensors", "tomli")
"""Of the package's own dependencies, those that a machine with torch may lack."""
CUDA: Final = "cuda-bindings"
_MODULES: Final = ("filelock", "platformdirs", "psutil", "pydantic", "rich", "safetensors")
PLATFORM: Final = "manylinux_2_28_x86_64"


def main() -> None:
    """Carry wheels, or measure."""
    args = _arguments()
    if args.wheels:
        line = download_line(args.wheels, args.python)
        print(" ".join(line), flush=True)
        raise SystemExit(subprocess.run(line, check=False).returncode)
    _unpack(args.packages)
    from gpu_table_steps import measure_all  # it imports the package, which may have just been unpacked

    measure_all(args)


def download_line(folder: Path, python: str) -> list[str]:
    """The command that fills ``folder`` with wheels for that version of Python on x86-64 Linux."""
    where = ["--platform", PLATFORM, "--platform", "manylinux2014_x86_64", "--python-version", python]
    what = ["--only-binary", ":all:", "--dest", str(folder)]
    return [sys.executable, "-m", "pip", "download", *what, *where, *NEEDED, CUDA]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="download what to carry into DIR, and end")
    parser.add_argument("--python", default="{}.{}".format(*sys.version_info), help="of the wheels (default: this one)")
    parser.add_argument("--packages", type=Path, default=CARRIED, metavar="DIR", help="carried wheels")
    parser.add_argument("--dry-run", action="store_true", help="as far as a CPU allows")
    parser.add_argument("--seconds", type=float, default=560, help="begin no step after this (default: %(default)s)")
    parser.add_argument("--device", action="append", help="device name, again for each (default: torch, gpu, gpu-rtx)")
    parser.add_argument("--batch", action="append", type=int, help="again for each (default: 1 and 32; dry: 1 and 2)")
    parser.add_argument("--space", default="mobilenetv3")
    parser.add_argument("--workspace", type=Path, help="where tables go (default: the checkout; dry: nowhere)")
    parser.add_argument("--results", type=Path, help="where figures go (default: benchmarks/results; dry: nowhere)")
    return parser.parse_args()


def _unpack(folder: Path) -> None:
    """Make the package and its carried dependencies importable, here and in the processes that are started."""
    wheels = sorted(map(str, folder.glob("*.whl"))) if folder.is_dir() else []
    lacking = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if lacking and wheels:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(UNPACKED)]
        subprocess.run([*pip, "--upgrade", *wheels], check=True)
    # What is installed goes first: a carried numpy, say, must not take the place of the one that torch was built for.
    sys.path[:0] = [str(ROOT)]
    sys.path += [str(UNPACKED)] if UNPACKED.is_dir() else []
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), *known, str(UNPACKED)]))


if __name__ == "__main__":
    main()
