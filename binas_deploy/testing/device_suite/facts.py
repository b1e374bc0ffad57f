"""What a device says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from binas_deploy.conditions import BACK_TO_BACK, IDENTITY_KEYS, Conditions
from binas_deploy.testing.device_suite.candidate import Candidate, output_of, require, small_network

_STATED_BY_THE_FILE: Final = ("device", "precision", "batch", "cadence")
_SAYS_NOTHING: Final = ("unknown", "none", "n/a", "?")


class FactsExam(Candidate):
    """Facts are complete, mean something, and stay what they are."""

    def test_facts_are_text_and_complete(self) -> None:
        """Identity and context are text, and with what a device file states they make conditions."""
        facts = self.make_device().facts()
        pairs = [*facts.identity.items(), *facts.context.items()]
        wrong = [pair for pair in pairs if not all(isinstance(text, str) and text for text in pair)]
        require(not wrong, f"facts are text by key, found {wrong}")
        missing = [key for key in IDENTITY_KEYS if key not in (*facts.identity, *_STATED_BY_THE_FILE)]
        require(not missing, f"the identity leaves out {missing}")
        stated = {"device": "d", "precision": self.precision.value, "batch": "1", "cadence": BACK_TO_BACK}
        Conditions({**facts.identity, **stated}, facts.context)

    def test_the_identity_means_something(self) -> None:
        """A key that says 'unknown' would make all machines the same."""
        identity = self.make_device().facts().identity
        empty = {key: text for key, text in identity.items() if text.strip().lower() in _SAYS_NOTHING}
        require(not empty, f"the identity says nothing in {empty}")
        threads, version = identity["threads"], identity["runtime_version"]
        require(threads.isdigit() and int(threads) > 0, f"threads is a number from 1 up, found {threads!r}")
        require(any(map(str.isdigit, version)), f"a runtime's version has a number, found {version!r}")

    def test_identity_does_not_change(self, tmp_path: Path) -> None:
        """Two devices made alike are the same device, also after one has worked: a table holds for either."""
        device, model = self.make_device(), small_network()
        before = dict(device.facts().identity)
        with device.load(self._compiled(device, model, tmp_path)) as executable:
            output_of(executable, model, 1)
        for found in (dict(device.facts().identity), dict(self.make_device().facts().identity)):
            require(found == before, f"the identity changed from {before} to {found}")
