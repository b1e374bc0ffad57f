"""``binas-deploy devices``: the devices and adapters there are, and setting up remote ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from binas_deploy.cli.lazy import LazyGroup
from binas_deploy.cli.options import Session, common

if TYPE_CHECKING:
    from binas_deploy.devices import DeviceSpec

COMMANDS: Final = {"setup": "Install or upgrade the agent on a machine that ssh reaches, and say what is there."}
_HEADER: Final = ("device", "adapter", "precision", "threads", "batch", "state", "file")


@click.group(
    "devices", cls=LazyGroup, modules="binas_deploy.cli.devices_{}", lines=COMMANDS, invoke_without_command=True
)
@click.option("--device", "names", multiple=True, metavar="NAME", help="Only this one; again for each.")
@click.option("--check", is_flag=True, help="Run a small network on each, to tell whether it works.")
@common
@click.pass_context
def command(context: click.Context, session: Session, names: tuple[str, ...], check: bool) -> int:
    """List the devices and adapters: what is installed, and with --check what works; set up remote ones.

    A device is a TOML file in the workspace's devices/ or one that ships with the tool. Installed means that the
    package it needs is there. Whether it works shows when something runs: --check does that, in a process for each.
    """
    return _list(session, names, check) if context.invoked_subcommand is None else 0


def _list(session: Session, names: tuple[str, ...], check: bool) -> int:
    from binas_deploy.devices import device_files
    from binas_deploy.errors import EXIT_NOT_MEASURED
    from binas_deploy.progress import SILENT

    workspace = session.workspace
    files = {name: path for name, path in device_files(workspace).items() if not names or name in names}
    _require_known(names, files, workspace)
    with (session.progress if check else SILENT).task("checking", len(files)) as advance:
        found = []
        for name, path in files.items():
            found.append(_describe(name, path, workspace, check=check))
            advance(1)
    content = {"workspace": str(workspace), "machine": _machine(), "devices": found, "adapters": _adapters()}
    session.document("devices", content)
    _show(session, content)
    return EXIT_NOT_MEASURED if names and any(item["works"] is False for item in found) else 0


def _require_known(names: tuple[str, ...], files: dict[str, Path], workspace: Path) -> None:
    from binas_deploy.devices import load_device_spec

    for name in names:
        if name not in files:
            load_device_spec(name, workspace)  # says which there are
            raise click.UsageError(f"{name}: give the names of devices, not files.")


def _describe(name: str, path: Path, workspace: Path, *, check: bool) -> dict[str, Any]:
    """A file that cannot be read is listed too: it is why its device cannot be used."""
    from binas_deploy.devices import availability, load_device_spec
    from binas_deploy.errors import BinasError

    unknown = {"name": name, "installed": False, "works": None, "file": str(path)}
    try:
        spec = load_device_spec(name, workspace)
    except BinasError as error:
        return {**unknown, "reason": str(error)}
    installed, reason = availability(spec)
    settings = spec.model_dump(include={"adapter", "precision", "threads", "batch"})
    known = {**unknown, **settings, "installed": installed, "reason": reason}
    return {**known, **_tried(spec)} if check and installed else known


def _tried(spec: DeviceSpec) -> dict[str, Any]:
    from binas_deploy.steps.try_device import try_device

    found = try_device(spec)
    return {
        "works": found.works,
        "reason": found.said,
        "seconds": round(found.seconds, 2),
        "latency_ns": found.latency_ns,
    }


def _machine() -> dict[str, str]:
    """What of this machine decides which devices there can be."""
    from binas_deploy.adapters import host, intel

    cores = {key: value for key, value in host.host_context().items() if key.endswith("_cores")}
    return {"cpu": host.cpu_model(), "affinity": host.affinity(), **cores, **intel.accelerator_context()}


def _adapters() -> list[dict[str, Any]]:
    from binas_deploy.adapters.registry import adapter_names, find_adapter, missing_package, package_version

    found = []
    for name in adapter_names():
        adapter = find_adapter(name)
        fault = missing_package(adapter)
        state = {"version": package_version(adapter), "reason": "" if fault is None else str(fault)}
        found.append({"name": name, "package": adapter.package, "installed": fault is None, **state})
    return found


def _show(session: Session, content: dict[str, Any]) -> None:
    from binas_deploy.cli.render import facts, table

    devices, adapters = content["devices"], content["adapters"]
    session.show(table(_HEADER, [_row(item) for item in devices]))
    for item in devices:
        if not item["installed"] or item["works"] is not None:
            session.show(f"{item['name']}: {_said(item)}")
    rows = [(item["name"], item["package"], item["version"] or item["reason"]) for item in adapters]
    session.show("\n" + table(("adapter", "package", "installed"), rows))
    session.show("\n" + facts(list(content["machine"].items())))


def _row(item: dict[str, Any]) -> tuple[object, ...]:
    settings = (item.get(key, "?") for key in ("adapter", "precision", "threads", "batch"))
    tried = {True: "works", False: "fails", None: "installed"}
    return (item["name"], *settings, tried[item["works"]] if item["installed"] else "no", item["file"])


def _said(item: dict[str, Any]) -> str:
    if not item["works"]:
        return str(item["reason"])
    return f"a call took {item['latency_ns'] / 1e6:.3f} ms on {item['reason']}; {item['seconds']:.1f} s in all"
