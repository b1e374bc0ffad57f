"""What a prepare command makes of a model (an engine, a converted file), made once and kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from binas_deploy.adapters.command.places import Place
from binas_deploy.adapters.command.words import Words
from binas_deploy.documents import digest, file_sha256, write_atomic
from binas_deploy.errors import DeviceError
from binas_deploy.model import OnnxModel


@dataclass(frozen=True)
class Preparing:
    """The prepare command ``words`` in its ``place``; its files get ``suffix``."""

    place: Place
    words: Words
    suffix: str
    seconds: float

    def payload(self, model: OnnxModel, values: Mapping[str, str], identity: Mapping[str, str], cache: Path) -> bytes:
        """The prepared file's bytes, from ``cache`` where the same was prepared before.

        The same: model, words, values, identity of the device, and the content of local files among the words.

        Raises:
            DeviceError: the command failed or wrote nothing.
        """
        files = {word: file_sha256(Path(word)) for word in self.words.words if Path(word).is_file()}
        of = {"words": self.words.words, "values": dict(values), "identity": dict(identity), "files": files}
        kept = cache / "command" / f"{model.sha256[:16]}-{digest(of)[:16]}{self.suffix}"
        if kept.is_file():
            return kept.read_bytes()
        made = self._made(model, values)
        write_atomic(kept, made)
        return made

    def _made(self, model: OnnxModel, values: Mapping[str, str]) -> bytes:
        with self.place.folder() as folder:
            paths = {"model": f"{folder}/model.onnx", "prepared": f"{folder}/prepared{self.suffix}", "folder": folder}
            self.place.put(paths["model"], model.payload)
            done = self.place.run(self.words.filled({**values, **paths}), seconds=self.seconds)
            done.require_success("options.prepare")
            made = self.place.get(paths["prepared"])
        if not made:
            raise DeviceError(f"options.prepare: {done.name} wrote no file {{prepared}}{done.said}")
        return made
