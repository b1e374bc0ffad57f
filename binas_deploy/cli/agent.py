"""``binas-deploy agent``: serve this machine's devices over stdin and stdout."""

from __future__ import annotations

import os
import select

import click

from binas_deploy.cli.options import debug_option


@click.command("agent")
@click.option(
    "--idle",
    type=click.IntRange(1, 86_400),
    default=3600,
    show_default=True,
    help="End after so many seconds without a request: the other side may be gone without a word.",
)
@debug_option
def command(idle: int) -> None:
    """Serve this machine's devices over stdin and stdout; what ssh starts on a remote device.

    It opens no port, and ends when stdin does.
    """
    from binas_deploy.cache import cache_folder
    from binas_deploy.remote.agent import GREETING, serve
    from binas_deploy.remote.frames import PROTOCOL, Stream

    incoming, outgoing = _streams()

    def read(count: int) -> bytes:
        return os.read(incoming, count) if select.select([incoming], [], [], idle)[0] else b""

    def write(data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(outgoing, rest) :]

    write(GREETING % PROTOCOL)
    serve(Stream(read, write), cache_folder())


def _streams() -> tuple[int, int]:
    """Copies of stdin and stdout. Whatever else speaks on stdout, as runtimes may, speaks on stderr from now on."""
    incoming, outgoing = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return incoming, outgoing
