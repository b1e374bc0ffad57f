"""The error tree. A message says what was asked, what was found and what to do.

::

    BinasError                exit 2
    ├── InputError            exit 2   unknown name, malformed value or file, wrong usage
    │   ├── DocumentError              a file that is truncated, edited by hand, foreign or newer
    │   └── MismatchError              a table, bundle or supernet made for something else
    ├── EnvironmentFault      exit 2   missing extra, no permission, disk full, file locked
    │   └── MissingExtraError          an optional package is not installed
    ├── DeviceError           exit 3   device or runtime absent, or it failed while working
    │   ├── LinkLostError              the connection to a remote device broke; what was under way is to be done again
    │   └── NoOutputsError             a device that only times was asked what a network computes
    ├── NotMeasuredError      exit 3   no table or no samples to answer from
    ├── InconclusiveError     exit 4   measured, but the answer cannot be given
    ├── InfeasibleBudgetError exit 5   proved: no network of the space meets the budget
    └── TooLossyError         exit 1   measured: in the asked precision the network loses more accuracy than allowed

Else exit 1 ("the answer is no") is a verdict, not an error; exit 130 is Ctrl-C. A defect of the tool itself exits with
70 and a reader that closed the pipe leaves 141, so that neither is ever taken for a verdict.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_NO = 1
EXIT_USAGE = 2
EXIT_NOT_MEASURED = 3
EXIT_INCONCLUSIVE = 4
EXIT_INFEASIBLE = 5
EXIT_INTERNAL = 70
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


class BinasError(Exception):
    """Root of every error that this package raises on purpose."""

    exit_code: int = EXIT_USAGE


class InputError(BinasError):
    """What was asked cannot be understood or does not exist."""


class DocumentError(InputError):
    """A file is truncated, hand-edited, of a foreign format, or newer than this tool."""


class MismatchError(InputError):
    """A valid file that was made for another space, device, precision or condition."""


class EnvironmentFault(BinasError):
    """The surroundings refuse: permission, disk space, a lock, a missing program."""


class MissingExtraError(EnvironmentFault):
    """An optional package is needed and absent; the message has the line that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed. "
            f"Install it with: pip install 'binas-deploy[{extra}]'"
        )
        self.package = package
        self.extra = extra


class DeviceError(BinasError):
    """The device or its runtime is absent or failed."""

    exit_code = EXIT_NOT_MEASURED


class LinkLostError(DeviceError):
    """The connection to a remote device broke in the middle of something that only a caller can begin again."""


class NoOutputsError(DeviceError):
    """The device times networks and gives no outputs: numerics cannot be checked on it."""


class NotMeasuredError(BinasError):
    """There is no measurement to answer from."""

    exit_code = EXIT_NOT_MEASURED


class InconclusiveError(BinasError):
    """Measured, but too noisy or too little to answer."""

    exit_code = EXIT_INCONCLUSIVE


class InfeasibleBudgetError(BinasError):
    """Proved: no network of the space meets the budget."""

    exit_code = EXIT_INFEASIBLE


class TooLossyError(BinasError):
    """Measured: in the asked precision the network loses more accuracy than is allowed."""

    exit_code = EXIT_NO
