"""Where torch runs: all that differs between a CPU and a CUDA device.

CUDA: written against the API and its types, not yet verified on a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor

from binas_deploy.adapters.torch.settings import Settings
from binas_deploy.errors import DeviceError

Network = Callable[[Tensor], Tensor]

_WARM_UP_CALLS: Final = 3
"""Before a capture: libraries allocate and choose kernels in their first calls, which no graph can hold."""


@dataclass(frozen=True)
class Call:
    """What is timed. ``run()`` computes from what is in ``entry``; on CUDA it returns before that is done."""

    entry: Tensor
    run: Callable[[], Tensor]


class Place:
    """The CPU; `CudaPlace` changes what is different there."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.device = torch.device(settings.target)

    @contextmanager
    def settings(self) -> Iterator[None]:
        """The settings of torch that hold for the process, as the device's file has them, while the context lasts."""
        found = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if self._settings.tf32 else "highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(found)

    def call(self, network: Network, entry: Tensor) -> Call:
        """``network`` on ``entry``, which is on the device and stays where it is."""
        return Call(entry, partial(network, entry))

    def synchronize(self) -> None:
        """Wait until all is computed."""

    def times(self, run: Callable[[], Tensor], count: int) -> list[int]:
        """Latency in ns of each of ``count`` calls, shape (count,); each begins when the one before has ended."""
        clock, taken = time.perf_counter_ns, []
        for _ in range(count):
            start = clock()
            run()
            taken.append(clock() - start)
        return taken

    def release(self) -> None:
        """Give back memory that nothing uses."""


class CudaPlace(Place):
    """A CUDA device. Its clock is that of CUDA events: from before the first kernel of a call to after the last.

    Raises:
        DeviceError: torch sees no such device.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if settings.index >= there:
            built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
            raise DeviceError(
                f"target '{settings.target}' asked, torch {torch.__version__} ({built}) sees {there} CUDA devices. "
                'Install a build of torch for your GPU and its driver, or set target = "cpu".'
            )
        self.device = torch.device("cuda", settings.index)

    def model(self) -> str:
        """The GPU's name, compute capability and multiprocessors, such as 'NVIDIA H200 (sm_90, 132 SMs)'."""
        found = torch.cuda.get_device_properties(self.device)
        return f"{found.name} (sm_{found.major}{found.minor}, {found.multi_processor_count} SMs)"

    def versions(self) -> dict[str, str]:
        """Of CUDA (or ROCm), which torch was built for, and of cuDNN, which it found."""
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        return {"cuda": torch.version.cuda or f"rocm {torch.version.hip}", "cudnn": str(cudnn)}

    @contextmanager
    def settings(self) -> Iterator[None]:
        """As on a CPU, with cuDNN's, and this device as the current one."""
        cudnn = torch.backends.cudnn.flags(
            enabled=True,
            benchmark=self._settings.cudnn_benchmark,
            deterministic=False,
            allow_tf32=self._settings.tf32,
        )
        with super().settings(), cudnn, torch.cuda.device(self.device):
            yield

    def call(self, network: Network, entry: Tensor) -> Call:
        """``network`` on ``entry``, replayed from a CUDA graph and with copies from and to the host where asked."""
        found = super().call(network, entry)
        if self._settings.cuda_graphs:
            found = _captured(found)
        return _with_transfers(found) if self._settings.transfers else found

    def synchronize(self) -> None:
        """Wait until all is computed."""
        torch.cuda.synchronize(self.device)

    def times(self, run: Callable[[], Tensor], count: int) -> list[int]:
        """Latency in ns of each of ``count`` calls by CUDA events, shape (count,)."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        self.synchronize()
        taken = []
        for _ in range(count):
            start.record()
            run()
            end.record()
            end.synchronize()
            taken.append(round(start.elapsed_time(end) * 1e6))
        return taken

    def release(self) -> None:
        """Give back memory that nothing uses."""
        torch.cuda.empty_cache()


def _captured(call: Call) -> Call:
    """``call`` as a graph that is launched at once, instead of kernel by kernel from Python."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP_CALLS):
            call.run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # Another thread's allocations would otherwise end the capture.
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        output = call.run()

    def replay() -> Tensor:
        graph.replay()
        return output

    return Call(call.entry, replay)


def _with_transfers(call: Call) -> Call:
    """``call`` with its input copied from pinned memory of the host, and its output to there."""
    source, target = _pinned(call.entry), _pinned(call.run())

    def there_and_back() -> Tensor:
        call.entry.copy_(source, non_blocking=True)
        return target.copy_(call.run(), non_blocking=True)

    return Call(source, there_and_back)


def _pinned(like: Tensor) -> Tensor:
    """Memory of the host that the GPU reads by itself."""
    return torch.empty_like(like, device="cpu", pin_memory=True)
