"""A network loaded by torch."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray

from binas_deploy.adapters.base import Feed
from binas_deploy.adapters.torch.exported import opened
from binas_deploy.adapters.torch.place import Call, Network, Place
from binas_deploy.adapters.torch.process import sampling, working
from binas_deploy.adapters.torch.settings import COMPILED, RUNTIME, Settings
from binas_deploy.errors import DeviceError


class Executable:
    """A loaded model that has run once. The feed last sampled stays on the device, so that nothing is copied again."""

    def __init__(self, settings: Settings, place: Place, payload: bytes) -> None:
        self._settings = settings
        self._place = place
        self._rebuilt, numbers = opened(payload)
        self._bound: Feed | None = None
        self._call: Call | None = self._prepared(numbers)

    def close(self) -> None:
        """Let go of weights and graphs, also where a caller keeps this one."""
        self._call = self._bound = None
        self._rebuilt.module.to("meta")

    def run(self, feed: Feed) -> dict[str, NDArray[np.float32]]:
        """Outputs by name."""
        with RUNTIME.running(), working(self._place, self._settings.threads):
            output = self._filled(feed).run()
            self._place.synchronize()
            return {self._rebuilt.output_name: output.float().cpu().numpy().copy()}

    def sample(self, feed: Feed, *, count: int) -> NDArray[np.int64]:
        """Latency of each of ``count`` back-to-back calls in ns, shape (count,)."""
        with RUNTIME.running(), sampling(self._place, self._settings.threads):
            return np.array(self._place.times(self._filled(feed).run, count), dtype=np.int64)

    def _prepared(self, numbers: torch.dtype) -> Call:
        module = self._rebuilt.module.to(device=self._place.device, dtype=numbers)
        entry = torch.zeros(self._rebuilt.input_shape, dtype=numbers, device=self._place.device)
        if self._settings.channels_last:
            module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch leaves it out
            entry = entry.to(memory_format=torch.channels_last)
        return self._first_called(module, entry)

    def _first_called(self, module: torch.nn.Module, entry: torch.Tensor) -> Call:
        network: Network = module
        with working(self._place, self._settings.threads), warnings.catch_warnings():
            if self._settings.execution == COMPILED:
                # It warns of old parts within torch, and advises TF32 where the device's file decided against it.
                warnings.simplefilter("ignore")
                # A whole graph of fixed shapes: what cannot be compiled is an error, and not run eagerly instead.
                network = torch.compile(module, fullgraph=True, dynamic=False, mode=self._settings.mode)
            call = self._place.call(network, entry)
            call.run()
            self._place.synchronize()
        return call

    def _filled(self, feed: Feed) -> Call:
        if self._call is None:
            raise DeviceError("this program is closed.")
        if self._bound is not feed:
            self._call.entry.copy_(torch.tensor(self._array(feed)))
            self._bound = feed
        return self._call

    def _array(self, feed: Feed) -> NDArray[np.float32]:
        name, shape = self._rebuilt.input_name, self._rebuilt.input_shape
        found = {key: array.shape for key, array in feed.items()}
        if found != {name: shape}:
            raise DeviceError(f"the model takes {name!r} of shape {shape}, found {found}.")
        return feed[name]
