"""Device files: whom we measure. TOML in, `DeviceSpec` out; ``devices/cpu.toml`` documents every key.

A name is looked up in the workspace's ``devices/`` first, then among the built-in ones.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from binas_deploy.adapters.base import QUANTISER_KEY, Device, DeviceFacts, Option, PrecisionName
from binas_deploy.adapters.registry import find_adapter, make_device, missing_package
from binas_deploy.budget import RESOURCES
from binas_deploy.conditions import Conditions, cadence_of, period_of
from binas_deploy.documents import validation_message
from binas_deploy.errors import DeviceError, DocumentError, InputError, MissingExtraError
from binas_deploy.measure import Timing
from binas_deploy.quantisers import quantiser, quantiser_names
from binas_deploy.remote.ssh import AGENT_FOLDER, SshTarget, no_ssh
from binas_deploy.toml_files import parse_toml, read_toml_text
from binas_deploy.workspace import builtin_folder

DEVICE_VERSION: Final = 1
_DEFAULTS: Final = Timing()


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TimingSpec(_Strict):
    """The file's ``[timing]``; see `Timing` for what each means. ``networks``: whole ones that a table rests on.

    ``pieces``: whether each is measured alone too; where compiling takes long, networks alone tell more per second.
    """

    warmup_ms: Annotated[float, Field(ge=0, le=60_000)] = _DEFAULTS.warmup_ms
    samples_per_visit: Annotated[int, Field(ge=1, le=10_000)] = _DEFAULTS.samples_per_visit
    visit_ms: Annotated[float, Field(gt=0, le=3_600_000)] = _DEFAULTS.visit_ms
    min_rounds: Annotated[int, Field(ge=1, le=10_000)] = _DEFAULTS.min_rounds
    max_rounds: Annotated[int, Field(ge=1, le=10_000)] = _DEFAULTS.max_rounds
    max_seconds: Annotated[float, Field(gt=0, le=7 * 86_400)] = _DEFAULTS.max_seconds
    target_interval_percent: Annotated[float, Field(gt=0, le=100)] = _DEFAULTS.target_interval_percent
    period_ms: Annotated[float, Field(ge=0, le=3_600_000)] = _DEFAULTS.period_ms
    networks: Annotated[int, Field(ge=3, le=10_000)] = 64
    pieces: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> TimingSpec:
        if self.min_rounds > self.max_rounds:
            raise ValueError(f"min_rounds {self.min_rounds} is more than max_rounds {self.max_rounds}")
        return self


class SshSpec(_Strict):
    """The file's ``[ssh]``: the machine that the device is; see `SshTarget`."""

    host: str
    user: str | None = None
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    python: str = "python3"
    agent: str = AGENT_FOLDER

    @model_validator(mode="after")
    def _usable(self) -> SshSpec:
        try:
            self.target("")
        except InputError as error:
            raise ValueError(str(error)) from error
        return self

    def target(self, name: str) -> SshTarget:
        """Where ssh is to go for the device of that name."""
        return SshTarget(self.host, self.user, self.port, self.python, self.agent, name)


class DeviceSpec(_Strict):
    """One device: which adapter drives it and under which settings it is measured."""

    format: Literal["binas-deploy/device"] = "binas-deploy/device"
    version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    adapter: Annotated[str, Field(min_length=1, max_length=64)]
    transport: Literal["local", "ssh"] = "local"
    precision: PrecisionName = "fp32"
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    batch: Annotated[int, Field(ge=1, le=65_536)] = 1
    options: dict[str, Option] = Field(default_factory=dict)
    timing: TimingSpec = TimingSpec()
    ssh: SshSpec | None = None

    @model_validator(mode="after")
    def _reached(self) -> DeviceSpec:
        if (self.transport == "ssh") != (self.ssh is not None):
            raise ValueError('transport = "ssh" and a table [ssh] with the host go together')
        return self

    @field_validator("name")
    @classmethod
    def _no_resource(cls, name: str) -> str:
        if name in RESOURCES:
            raise ValueError(f"a budget such as {name}=... is of the resource {name}, so no device can be called that")
        return name

    def with_threads(self, threads: int | None) -> DeviceSpec:
        """This device with another number of threads; None keeps the file's.

        Raises:
            InputError: not a number of threads.
        """
        if threads is None:
            return self
        try:
            return DeviceSpec.model_validate({**self.model_dump(), "threads": threads})
        except ValidationError as error:
            raise InputError(f"threads = {threads!r}: give a whole number from 1 to 1024.") from error

    def with_precision(self, precision: str | None) -> DeviceSpec:
        """This device in another precision; None keeps the file's. Whether it has it, opening the device tells.

        Raises:
            InputError: not a precision.
        """
        if precision is None:
            return self
        try:
            return DeviceSpec.model_validate({**self.model_dump(), "precision": precision})
        except ValidationError as error:
            raise InputError(f"precision = {precision!r}: give fp32, fp16 or int8.") from error

    @property
    def cadence(self) -> str:
        """How calls follow one another, as conditions state it."""
        return cadence_of(round(self.timing.period_ms * 1e6))

    def with_cadence(self, cadence: str | None) -> DeviceSpec:
        """This device called in another rhythm; None keeps the file's.

        Raises:
            InputError: not a cadence, or a period over an hour.
        """
        return self if cadence is None else self._timed(period_ms=period_of(cadence) / 1e6)

    def _timed(self, **changes: float) -> DeviceSpec:
        try:
            timing = TimingSpec.model_validate({**self.timing.model_dump(), **changes})
        except ValidationError as error:
            raise InputError(validation_message(Path("timing"), error)) from error
        return self.model_copy(update={"timing": timing})

    def with_networks(self, networks: int | None) -> DeviceSpec:
        """This device with tables that rest on another number of whole networks; None keeps the file's.

        Raises:
            InputError: not a number of networks from 3 on.
        """
        return self if networks is None else self._timed(networks=networks)

    def with_seconds(self, seconds: float | None) -> DeviceSpec:
        """This device measured for at most so long; None keeps the file's limit.

        Raises:
            InputError: not above 0, or more than a week.
        """
        return self if seconds is None else self._timed(max_seconds=seconds)

    def timing_rule(self) -> Timing:
        """The file's ``[timing]`` as the measuring core takes it."""
        return Timing(**self.timing.model_dump(exclude={"networks", "pieces"}))


def device_files(workspace: Path | None = None) -> dict[str, Path]:
    """Name -> file of every device there is; the workspace's go before the built-in ones."""
    folders = [builtin_folder("devices"), *([workspace / "devices"] if workspace else [])]
    found = {path.stem: path for folder in folders if folder.is_dir() for path in folder.glob("*.toml")}
    return dict(sorted(found.items()))


def load_device_spec(name_or_path: str | Path, workspace: Path | None = None) -> DeviceSpec:
    """A device by name, or a file by path (anything with a separator or ``.toml``).

    Raises:
        InputError: unknown name, or no such file.
        DocumentError: the file is not a device; the message names field path, value and what is allowed.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".toml") or "/" in text or "\\" in text:
        return _load(Path(text))
    files = device_files(workspace)
    if text not in files:
        known = ", ".join(files) or "none"
        raise InputError(f"unknown device {text!r}. Known: {known}; or give the path of a device file (.toml).")
    spec = _load(files[text])
    if spec.name != text:
        raise DocumentError(f"{files[text]}: name: is {spec.name!r}, the file is called {text!r}. Make them the same.")
    return spec


def parse_device_spec(text: str, path: Path) -> DeviceSpec:
    """Parse the text of a device file; ``path`` is named in errors.

    Raises:
        DocumentError: not TOML, or not a valid device.
    """
    raw = parse_toml(text, path, "device", DEVICE_VERSION)
    try:
        return DeviceSpec.model_validate(raw)
    except ValidationError as error:
        raise DocumentError(validation_message(path, error)) from error


def open_device(spec: DeviceSpec, threads: int | None = None) -> Device:
    """The device that ``spec`` describes. No hardware is touched.

    Raises:
        InputError: an unknown adapter, or options that it does not take.
        MissingExtraError, DeviceError: the adapter's package is absent.
    """
    asked = spec.with_threads(threads)
    if asked.ssh is not None:
        from binas_deploy.remote.device import RemoteDevice  # here: only remote devices need it

        return RemoteDevice(asked.ssh.target(asked.name), asked.adapter, asked.threads, asked.options, asked.precision)
    return make_device(asked.adapter, asked.threads, asked.options, asked.precision)


def availability(spec: DeviceSpec) -> tuple[bool, str]:
    """Whether what the device needs is installed here, and why (not). Decided without importing its runtime.

    Whether it *works* only an inference tells: `steps.try_device`. Of a remote one, only ssh is needed here.
    """
    if spec.ssh is not None:
        return (False, str(no_ssh())) if shutil.which("ssh") is None else (True, "ready, if its host is")
    try:
        fault = missing_package(find_adapter(spec.adapter))
    except InputError as error:
        return False, str(error)
    return (True, "installed") if fault is None else (False, str(fault))


def device_conditions(spec: DeviceSpec, facts: DeviceFacts) -> Conditions:
    """Under what latencies of this device hold: what it says of itself, and what ``spec`` asks of it.

    Raises:
        DeviceError: the device leaves out a key of the identity.
    """
    asked = {"device": spec.name, "precision": spec.precision, "batch": str(spec.batch), "cadence": spec.cadence}
    try:
        return Conditions({**facts.identity, **asked}, {**facts.context, **_made_by(facts)})
    except InputError as error:
        raise DeviceError(f"adapter '{spec.adapter}' states incomplete facts: {error}") from error


def _made_by(facts: DeviceFacts) -> dict[str, str]:
    """Which version quantises, here and not on the device: another one may put Q/DQ elsewhere."""
    by = facts.identity.get(QUANTISER_KEY, "")
    try:
        return {"quantiser_version": quantiser(by).version()} if by in quantiser_names() else {}
    except MissingExtraError:
        return {}


def _load(path: Path) -> DeviceSpec:
    return parse_device_spec(read_toml_text(path, "device"), path)
