"""A file that commands take, timed and run by them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from binas_deploy.adapters.base import Feed, SelfWarming
from binas_deploy.adapters.command.arrays import packed, unpacked
from binas_deploy.adapters.command.figures import Reading, require_plausible
from binas_deploy.adapters.command.options import CommandOptions
from binas_deploy.adapters.command.places import Place
from binas_deploy.adapters.command.process import Finished
from binas_deploy.adapters.command.words import Words
from binas_deploy.errors import DeviceError, NoOutputsError
from binas_deploy.model import INPUT_NAME, OUTPUT_NAME

_NO_OUTPUTS: Final = (
    "the device's file has no 'outputs' command: it times networks, and what they compute cannot be checked on it"
)


class Loaded(SelfWarming):
    """``values`` fill the placeholders that are the same in every call.

    Each call writes and reads files of its own, so calls may overlap.
    """

    def __init__(
        self, place: Place, options: CommandOptions, values: Mapping[str, str], output_shape: tuple[int, ...]
    ) -> None:
        self._place = place
        self._options = options
        self._values = values
        self._shape = output_shape
        self._reading = Reading(options.latencies, options.unit, options.key, options.pattern)
        self._numbers = itertools.count()

    def run(self, feed: Feed) -> dict[str, NDArray[np.float32]]:
        """Outputs by name, by the outputs command.

        Raises:
            NoOutputsError: the device's file has none.
            DeviceError: it failed, or wrote no such outputs.
        """
        words = self._options.computing()
        if words is None:
            raise NoOutputsError(_NO_OUTPUTS)
        values = self._with_files(words, feed)
        done = self._done(words, values)
        payload = self._place.get(values["output"])
        if payload is None:
            raise DeviceError(f"options.outputs: {done.name} wrote no file {{output}}{done.said}")
        return {OUTPUT_NAME: unpacked(payload, self._options.arrays, self._shape)}

    def sample(self, feed: Feed, *, count: int) -> NDArray[np.int64]:
        """Latency of each of ``count`` calls in ns, shape (count,): the last ones where the command prints more.

        With ``mean_of`` each is the mean of so many calls, from a run of the command of its own.

        Raises:
            DeviceError: the command failed, or printed too few latencies or such as cannot be.
        """
        calls = self._options.mean_of
        if calls > 1:
            return np.concatenate([self._timed(feed, calls, 1) for _ in range(count)])
        return self._timed(feed, count, count)

    def _timed(self, feed: Feed, calls: int, least: int) -> NDArray[np.int64]:
        words, warmup = self._options.timing(), str(self._options.warmup)
        more = {"count": str(calls + self._options.discard), "warmup": warmup}
        values = {**self._with_files(words, feed), **more}
        done = self._done(words, values)
        found = self._reading.latencies(self._text(words, values, done), done.name)
        if len(found) < least:
            raise DeviceError(f"{done.name} printed {len(found)} latencies, {least} were asked{done.said}")
        require_plausible(found * self._options.mean_of, done.seconds, done.name)
        return found[-least:]

    def _text(self, words: Words, values: Mapping[str, str], done: Finished) -> str:
        printed: bytes | None = getattr(done, self._options.stream)
        if words.uses("report"):
            printed = self._place.get(values["report"])
        if printed is None:
            raise DeviceError(f"options.command: {done.name} wrote no file {{report}}{done.said}")
        return printed.decode("utf-8", "replace")

    def _done(self, words: Words, values: Mapping[str, str]) -> Finished:
        done = self._place.run(words.filled(values), seconds=self._options.timeout_s)
        done.require_success(f"options.{words.option}")
        return done

    def _with_files(self, words: Words, feed: Feed) -> dict[str, str]:
        number, folder = next(self._numbers), self._values["folder"]
        files = {name: f"{folder}/{name}-{number}" for name in ("input", "output", "report")}
        files |= {name: f"{files[name]}.npy" for name in ("input", "output") if self._options.arrays == "npy"}
        if words.uses("input"):
            self._place.put(files["input"], packed(feed[INPUT_NAME], self._options.arrays))
        return {**self._values, **files}
