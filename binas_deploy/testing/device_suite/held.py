"""What this process holds at the moment: threads, files, children, memory of this machine and of its GPUs."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from typing import Any, Final

BYTES: Final = "bytes of"
_CUDA: Final = f"{BYTES} CUDA memory by torch"
_GPU: Final = f"{BYTES} GPU memory by NVML"


def held() -> dict[str, int]:
    """Amount by name; names of memory begin with `BYTES`. Of GPUs, what torch and NVML can tell, where they are."""
    import psutil

    gc.collect()
    process = psutil.Process()
    return {
        "threads": process.num_threads(),
        "open files": process.num_handles() if sys.platform == "win32" else process.num_fds(),
        "child processes": len(process.children(recursive=True)),
        f"{BYTES} memory": process.memory_info().rss,
        **_torch_memory(),
        **_nvml_memory(),
    }


def _torch_memory() -> dict[str, int]:
    """Of tensors alive; torch is asked only where somebody else has imported it and begun to use CUDA."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    torch.cuda.synchronize()
    return {_CUDA: sum(torch.cuda.memory_allocated(index) for index in range(torch.cuda.device_count()))}


def _nvml_memory() -> dict[str, int]:
    try:
        package = importlib.import_module("pynvml")
        package.nvmlInit()
    except Exception:  # noqa: BLE001  no package, no driver or no GPU: nothing to tell
        return {}
    try:
        handles = [package.nvmlDeviceGetHandleByIndex(index) for index in range(package.nvmlDeviceGetCount())]
        return {_GPU: sum(_used_by_us(package, handle) for handle in handles)}
    except package.NVMLError:
        return {}
    finally:
        package.nvmlShutdown()


def _used_by_us(package: Any, handle: Any) -> int:
    """Bytes; in a container the driver knows this process by another number, and it is ours if it is the only one."""
    found = package.nvmlDeviceGetComputeRunningProcesses(handle)
    ours = [process for process in found if process.pid == os.getpid()] or (found if len(found) == 1 else [])
    return sum(process.usedGpuMemory or 0 for process in ours)
