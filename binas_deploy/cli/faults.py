"""How errors end a command: one line for a person on stderr, and the exit code. The only such place."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Final

import click

from binas_deploy.errors import EXIT_BROKEN_PIPE, EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_USAGE, BinasError

_SURROUNDINGS: Final = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EMFILE,
    errno.EIO,
}
DEBUG_VARIABLE: Final = "BINAS_DEPLOY_DEBUG"


def debugging(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment asks for tracebacks."""
    return environment.get(DEBUG_VARIABLE, "") not in ("", "0")


def report(error: BaseException, *, debug: bool) -> int:
    """Say on stderr what went wrong and give the exit code; ``debug`` shows the traceback first."""
    text, code = _explain(error)
    with contextlib.suppress(OSError):  # stderr may be closed too
        if debug and not isinstance(error, BrokenPipeError):
            click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
        if text:
            click.echo(text, err=True)
    if isinstance(error, OSError):
        _abandon_stdout()
    return code


def _explain(error: BaseException) -> tuple[str, int]:
    """(message or nothing, exit code)."""
    if any(isinstance(cause, (KeyboardInterrupt, click.Abort)) for cause in _causes(error)):
        return "interrupted", EXIT_INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return "", EXIT_BROKEN_PIPE
    if isinstance(error, BinasError):
        return f"error: {error}", error.exit_code
    if isinstance(error, OSError) and error.errno in _SURROUNDINGS:
        from binas_deploy.documents import os_reason

        return f"error: {error.filename or 'output'}: {os_reason(error)}", EXIT_USAGE
    if isinstance(error, MemoryError):
        return "error: out of memory; close other programs or use a smaller space or batch.", EXIT_USAGE
    defect = f"error: a defect of binas-deploy: {type(error).__name__}: {error}"
    remedy = f"Run the command again with --debug (or {DEBUG_VARIABLE}=1) for the traceback, and report it."
    return f"{defect}\n{remedy}", EXIT_INTERNAL


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error itself first, then what it was raised from, or while that was handled.

    Of an interruption, a compiled extension that is being imported makes an ImportError, and a pool of processes that
    is being started a RuntimeError.
    """
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


def _abandon_stdout() -> None:
    """Let the interpreter's last flush go nowhere: stdout is a closed pipe or a full disk."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
