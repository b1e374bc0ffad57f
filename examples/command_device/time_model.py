"""A benchmark command for a device of your own: times an ONNX model and prints one latency a line, in nanoseconds.

This one uses ONNX Runtime on the machine that it runs on. Whatever runs models on your device takes its place: what
binas-deploy needs is the command line, the latencies, and an exit status other than 0 where something fails.

    python time_model.py --model model.onnx --count 20 --warmup 3 --threads 1
    python time_model.py --model model.onnx --input input.npy --output output.npy
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime


def main() -> int:
    """Time the model, or compute its output; an error is one line on stderr."""
    asked = arguments()
    try:
        session = opened(asked.model, asked.threads)
        if asked.output:
            np.save(asked.output, session.run(None, {input_of(session).name: np.load(asked.input)})[0])
        else:
            print("\n".join(str(latency) for latency in latencies(session, asked.warmup, asked.count)))
    except Exception as error:  # noqa: BLE001  whatever it is, the caller is told in one line
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def arguments() -> argparse.Namespace:
    """What the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--warmup", type=int, default=3, help="untimed calls before")
    parser.add_argument("--count", type=int, default=20, help="timed calls")
    parser.add_argument("--input", type=Path, help="a .npy file")
    parser.add_argument("--output", type=Path, help="write the output there (.npy) and time nothing")
    return parser.parse_args()


def opened(model: Path, threads: int) -> onnxruntime.InferenceSession:
    """The model, loaded."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def input_of(session: onnxruntime.InferenceSession) -> onnxruntime.NodeArg:
    """The one input."""
    return session.get_inputs()[0]


def latencies(session: onnxruntime.InferenceSession, warmup: int, count: int) -> list[int]:
    """Nanoseconds of each of ``count`` calls, back to back, after ``warmup`` calls."""
    source = input_of(session)
    feed = {source.name: np.random.default_rng(0).standard_normal(source.shape, dtype=np.float32)}
    for _ in range(warmup):
        session.run(None, feed)
    taken = []
    for _ in range(count):
        start = time.perf_counter_ns()
        session.run(None, feed)
        taken.append(time.perf_counter_ns() - start)
    return taken


if __name__ == "__main__":
    sys.exit(main())
