"""``binas-deploy devices setup``: the agent on a remote machine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from binas_deploy.cli.options import Session, common

if TYPE_CHECKING:
    from binas_deploy.remote.setup import Setup
    from binas_deploy.remote.ssh import SshTarget


@click.command("setup")
@click.argument("target", metavar="NAME|[USER@]HOST")
@click.option("--adapter", help="What drives the device  [default: onnxruntime, or what the device's file says].")
@click.option("--port", type=click.IntRange(1, 65_535), help="Of ssh there  [default: your ssh configuration's].")
@click.option("--python", help="Python 3.10 or newer there  [default: python3].")
@click.option(
    "--agent", help="Folder for the agent there, in the home folder  [default: .local/share/binas-deploy/agent]."
)
@common
def command(
    session: Session, target: str, adapter: str | None, port: int | None, python: str | None, agent: str | None
) -> int:
    """Install or upgrade the agent on a machine that ssh reaches, and say what is there.

    TARGET is a device with transport = "ssh", or a host as ssh knows it. Your ssh configuration and keys are used as
    they are. The agent gets a folder of its own there; nothing else is changed, there or here. Doing it again changes
    nothing.
    """
    from binas_deploy.devices import device_files, load_device_spec
    from binas_deploy.errors import EXIT_NOT_MEASURED, EXIT_OK, InputError
    from binas_deploy.remote.setup import set_up
    from binas_deploy.remote.ssh import AGENT_FOLDER, SshTarget

    spec = load_device_spec(target, session.workspace) if target in device_files(session.workspace) else None
    if spec is None:
        reached = SshTarget.parse(target, port=port, python=python or "python3", agent=agent or AGENT_FOLDER)
        done = set_up(reached, adapter or "onnxruntime", session.progress.note)
    elif spec.ssh is None:
        raise InputError(f"device '{target}' is this machine; only a remote one (transport = \"ssh\") needs an agent.")
    elif port or python or agent or adapter:
        raise InputError(f"device '{target}' says all that in its file; change it there.")
    else:
        reached, adapter = spec.ssh.target(spec.name), spec.adapter
        done = set_up(reached, adapter, session.progress.note, threads=spec.threads, options=spec.options)
    session.document("device-setup", _content(reached, done))
    session.show(_text(reached, done))
    if spec is None:
        session.show(_toml(reached, adapter or "onnxruntime"))
    return EXIT_OK if done.facts else EXIT_NOT_MEASURED


def _content(target: SshTarget, done: Setup) -> dict[str, Any]:
    facts = done.facts
    return {
        "host": target.address,
        "folder": done.found.folder,
        "agent": done.version,
        "before": done.before,
        "os": done.found.os,
        "python": done.found.python_version,
        "packages": dict(done.packages),
        "identity": dict(facts.identity) if facts else {},
        "context": dict(facts.context) if facts else {},
        "fault": done.fault,
    }


def _text(target: SshTarget, done: Setup) -> str:
    state = f"installed, was {done.before or 'not there'}" if done.changed else "as it was"
    runtimes = {name: version for name, version in done.packages.items() if not name.startswith("binas")}
    facts = done.facts
    rows = [
        ("host", target.address),
        ("system", f"{done.found.os}, {done.found.kernel}"),
        ("cpu", facts.identity["device_model"] if facts else ""),
        ("python", f"{done.found.python_version}, {done.found.executable}"),
        ("runtimes", ", ".join(f"{name} {version}" for name, version in sorted(runtimes.items())) or "none"),
        ("agent", f"{done.version} in {done.found.folder} ({state})"),
        ("device", f"{facts.identity['provider']}: ready" if facts else f"not usable: {done.fault}"),
    ]
    return "\n".join(f"{name:9} {value}" for name, value in rows if value)


def _toml(target: SshTarget, adapter: str) -> str:
    """A device file to paste; none is written."""
    name = re.sub(r"[^a-z0-9_-]+", "-", target.host.lower()).strip("-_")[:64] or "remote"
    usual = type(target)(target.host)
    told = {"host": target.host, "user": target.user, "port": target.port}
    more = {key: getattr(target, key) for key in ("python", "agent") if getattr(target, key) != getattr(usual, key)}
    lines = [
        f"{key} = {value if isinstance(value, int) else _quoted(value)}"
        for key, value in (told | more).items()
        if value
    ]
    return (
        f"\nA device file for it, devices/{name}.toml:\n\n"
        f'format = "binas-deploy/device"\nversion = 1\nname = "{name}"\nadapter = "{adapter}"\ntransport = "ssh"\n\n'
        "[ssh]\n" + "\n".join(lines)
    )


def _quoted(text: str) -> str:
    return "'" + text + "'" if "\\" in text else f'"{text}"'
