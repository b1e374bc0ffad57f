"""ONNX -> Relax -> machine code: kernels first, which a tuning may schedule, then the program around them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

_CHANNELS_LAST: Final = {"relax.nn.conv2d": ["NHWC", "HWIO"]}
LIBRARY: Final = "network.so"
OBJECTS: Final = "network.tar"
"""What the machine that loads it links itself."""


def imported(payload: bytes) -> Any:
    """A serialised ONNX model as a Relax module.

    Raises:
        Exception: of onnx or TVM: no model, or an operator that TVM does not have.
    """
    import onnx
    from tvm.relax.frontend.onnx import from_onnx

    model = onnx.load_model_from_string(payload)
    onnx.checker.check_model(model)  # TVM itself only warns
    with contextlib.redirect_stdout(io.StringIO()):  # where it fails, TVM prints besides
        return from_onnx(model, sanitize_input_names=False)


def kernels(tvm: Any, module: Any, target: Any) -> Any:
    """``module`` as fused kernels without schedules, in channels-last layout on CPUs."""
    passes = tvm.relax.transform
    steps = [_simplified(tvm), passes.CanonicalizeBindings()]
    if target.kind.name == "llvm":
        steps += [passes.ConvertLayout(_CHANNELS_LAST), passes.CanonicalizeBindings()]
    steps += [_simplified(tvm), passes.CanonicalizeBindings(), passes.DeadCodeElimination()]
    steps += [passes.LegalizeOps(), passes.AnnotateTIROpPattern(), passes.FuseOps(), passes.FuseTIR()]
    with target:
        return tvm.transform.Sequential(steps)(module)


def library(tvm: Any, module: Any, target: Any, link: Callable[..., Any] | None, name: str) -> bytes:
    """Scheduled kernels as a file that `tvm.runtime.load_module` takes: `LIBRARY`, or `OBJECTS` not linked yet."""
    with target, TemporaryDirectory(prefix="binas-deploy-") as folder:
        program = tvm.compile(module, target, relax_pipeline="default_build")
        path = Path(folder, name)
        program.export_library(str(path), fcompile=link)
        return path.read_bytes()


def _simplified(tvm: Any) -> Any:
    """A pass over calls that TVM handles slowly.

    It reshapes and transposes constants here: TVM compiles a program for each, 0.1 s a constant. And `relax.clip`,
    which keeps to the layout that it finds and so parts a convolution from its activation, becomes a minimum of a
    maximum.
    """
    from tvm.relax import op as ops
    from tvm.relax.dpl import is_const, is_op, rewrite_call, wildcard

    constant, value = is_const(), wildcard()
    reshaped, turned = is_op("relax.reshape")(constant, wildcard()), is_op("relax.permute_dims")(constant)
    clipped = is_op("relax.clip")(value, wildcard(), wildcard())

    def rewritten(call: Any, matches: Any) -> Any:
        if clipped in matches:
            low, high = (tvm.relax.const(float(bound.value), call.ty.dtype) for bound in call.args[1:])
            return ops.minimum(ops.maximum(matches[value], low), high)
        array = matches[constant].value.numpy()
        if turned in matches:
            return tvm.relax.const(np.ascontiguousarray(np.transpose(array, _axes(call))))
        return tvm.relax.const(array.reshape([int(size) for size in call.ty.shape]))

    def simplified(function: Any, _module: Any, _context: Any) -> Any:
        return rewrite_call(reshaped | turned | clipped, rewritten, function)

    return tvm.relax.transform.function_pass(simplified, opt_level=0)


def _axes(call: Any) -> list[int] | None:
    return None if call.attrs.axes is None else [int(axis) for axis in call.attrs.axes]
