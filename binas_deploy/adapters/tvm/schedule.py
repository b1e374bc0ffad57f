"""A schedule for kernels on CPUs that nothing was tuned for.

Left alone, TVM turns every operator into plain nested loops: no vectors, no registers kept, one thread. This one tiles
each kernel so that a block of its output stays in vector registers over the whole reduction. It expects channels last,
where neighbours along the innermost axis are independent of each other in every layer.
"""

from __future__ import annotations

from typing import Any, Final

VERSION: Final = 1
"""Another number is another device: kernels scheduled otherwise take other times."""
_LANES: Final = (16, 8, 4)
"""Vector lengths in float32, best first: 16 are one AVX-512, two AVX or four NEON registers."""
_TILE: Final = 128
"""Outputs that are computed at a time, at most: 16 AVX registers of 8."""
_SMALL: Final = 16
"""A last axis up to this long is one vector, whatever its length."""


def scheduled(tvm: Any, module: Any, target: Any, *, parallel: bool) -> Any:
    """``module`` with a schedule for each kernel that has none; ``parallel``: over threads. On GPUs it is TVM's own."""
    if target.kind.name != "llvm":
        return _scheduled_for_gpu(module, target)
    for name, function in module.functions_items():
        if isinstance(function, tvm.tirx.PrimFunc) and "tirx.is_scheduled" not in (function.attrs or {}):
            module[name] = _kernel(tvm, function, parallel).with_attr("tirx.is_scheduled", True)
    return module


def _scheduled_for_gpu(module: Any, target: Any) -> Any:
    from tvm.s_tir import dlight

    gpu = dlight.gpu
    rules = (gpu.Matmul(), gpu.GEMV(), gpu.Reduction(), gpu.GeneralReduction(), gpu.Fallback())
    with target:
        return dlight.ApplyDefaultSchedule(*rules)(module)


def _kernel(tvm: Any, function: Any, parallel: bool) -> Any:
    try:
        return _tiled(tvm, function, parallel)
    except tvm.s_tir.ScheduleError:
        return function  # of a form that this schedule does not fit (nested or several reductions): plain loops


def _tiled(tvm: Any, function: Any, parallel: bool) -> Any:
    schedule = tvm.s_tir.Schedule(function)
    # Padding too: as a test of each row of a tile it costs less than a padded copy of the input.
    for block in _blocks(schedule)[:-1]:
        if not _reduces(schedule, block):
            schedule.compute_inline(block)
    *before, last = _blocks(schedule)
    if _reduces(schedule, last) and not before:
        _tile_reduction(schedule, last, schedule.cache_write(last, 0, "local"), parallel)
    elif len(before) == 1:
        _tile_reduction(schedule, before[0], last, parallel)
    elif not before:
        _tile_output(schedule, last, parallel)
    return schedule.mod["main"]


def _tile_reduction(schedule: Any, block: Any, output: Any, parallel: bool) -> None:
    """Sum up in a tile of local memory under the loop over tiles of the kernel's ``output``."""
    under = _tile_output(schedule, output, parallel)
    schedule.compute_at(block, under, preserve_unit_loops=True)
    schedule.set_scope(block, 0, "local")
    kinds = [iteration.iter_type for iteration in schedule.get(block).iter_vars]
    loops = schedule.get_loops(block)[-len(kinds) :]
    spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == 0]
    reduced = [loop for loop, kind in zip(loops, kinds, strict=True) if kind != 0]
    schedule.reorder(*reduced, *spatial)
    _as_vectors(schedule, spatial)
    first = schedule.decompose_reduction(block, reduced[0])
    _as_vectors(schedule, schedule.get_loops(first)[-len(spatial) :])


def _tile_output(schedule: Any, block: Any, parallel: bool) -> Any:
    """Split a block's loops into tiles of vectors; the innermost loop over tiles."""
    *outer, last = schedule.get_loops(block)
    lanes = _lanes(_extent(schedule, last))
    tiles: list[Any] = []
    inner: list[Any] = []
    room = max(_TILE // lanes, 1)
    for loop in reversed(outer):
        size = _extent(schedule, loop)
        taken = max(part for part in range(1, room + 1) if size % part == 0)
        room = room // taken if taken == size else 1
        whole, part = schedule.split(loop, [None, taken])
        tiles.insert(0, whole)
        inner.insert(0, part)
    whole, vector = schedule.split(last, [None, lanes])
    schedule.reorder(*tiles, whole, *inner, vector)
    _as_vectors(schedule, [*inner, vector])
    under = schedule.fuse(*tiles, whole)
    if parallel:
        schedule.parallel(under)
    return under


def _as_vectors(schedule: Any, loops: list[Any]) -> None:
    for loop in loops[:-1]:
        schedule.unroll(loop)
    schedule.vectorize(loops[-1])


def _lanes(extent: int) -> int:
    if extent <= _SMALL:
        return extent
    return next((lanes for lanes in _LANES if extent % lanes == 0), _divisor(extent))


def _divisor(extent: int) -> int:
    return max(part for part in range(1, _SMALL + 1) if extent % part == 0)


def _blocks(schedule: Any) -> list[Any]:
    return list(schedule.get_child_blocks(schedule.get_sblock("root")))


def _reduces(schedule: Any, block: Any) -> bool:
    return any(iteration.iter_type != 0 for iteration in schedule.get(block).iter_vars)


def _extent(schedule: Any, loop: Any) -> int:
    return int(schedule.get(loop).extent)
