"""What ``verify`` is to show and to measure besides, as options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from binas_deploy.cli.options import to_cadence

if TYPE_CHECKING:
    from binas_deploy.steps.verify import Asking

F = TypeVar("F", bound=Callable[..., Any])
_NUMBERS: Final = "NUMBERS"


def _to_seconds(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    from binas_deploy.quantities import parse_quantity

    return parse_quantity(value).amount / 1e9


def _to_numbers(_: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
    if value is None:
        return ()
    from binas_deploy.steps.sweep import numbers

    return numbers(value, f"--{parameter.name}")


_OPTIONS: Final = (
    click.option(
        "--percentile",
        type=click.FloatRange(1, 99.9),
        help="Which percentile of the calls to judge by the budget: 95  [default: what the bundle was asked].",
    ),
    click.option(
        "--confidence",
        type=click.FloatRange(0.5, 1, min_open=True, max_open=True),
        help="How sure a pass or a fail has to be, however often it is looked at  [default: 0.95].",
    ),
    click.option(
        "--period",
        "cadence",
        callback=to_cadence,
        metavar="QUANTITY",
        help="Call the network once in so long: 33ms  [default: as the bundle was asked]. Another rhythm than the "
        "table's has no prediction to compare with.",
    ),
    click.option(
        "--soak",
        "soak_s",
        callback=_to_seconds,
        metavar="QUANTITY",
        help="A sustained run of so long, such as 60s: shows whether latency grows as the device gets warm.",
    ),
    click.option(
        "--batches",
        callback=_to_numbers,
        metavar=_NUMBERS,
        help="Throughput and latency at these batch sizes: 1,2,4,8. Other sizes than the bundle's are compiled anew.",
    ),
    click.option(
        "--concurrency",
        "callers",
        callback=_to_numbers,
        metavar=_NUMBERS,
        help="Throughput and latency with so many callers at once: 1,2. Together with --batches, every pair.",
    ),
)


def asking_options(function: F) -> F:
    """Add all of them; `asking_of` reads what they give."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def asking_of(given: Mapping[str, object]) -> Asking:
    """From the values of the options, by name."""
    from binas_deploy.steps.verify import Asking

    return Asking(**cast("dict[str, Any]", dict(given)))
