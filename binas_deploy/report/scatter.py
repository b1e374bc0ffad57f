"""Predicted against measured latency, as a picture."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from binas_deploy.columns import Floats
from binas_deploy.documents import write_atomic
from binas_deploy.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS: Final = ("#0b6e99", "#d9730d", "#448361", "#9065b0")
_MARKERS: Final = ("o", "^", "s", "D")


def require_pictures() -> None:
    """Refuse before anything is measured where matplotlib is not installed.

    Raises:
        MissingExtraError: it is not.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError("matplotlib", "plot", "a picture")


def scatter(points: Mapping[str, tuple[Floats, Floats]], *, title: str, path: Path) -> None:
    """Write a PNG: measured against predicted ms above, the error in percent below.

    ``points``: by kind, (predicted, measured) in ns, each (n,).

    Raises:
        MissingExtraError: matplotlib is not installed.
        EnvironmentFault: the file cannot be written.
    """
    require_pictures()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 7.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.4))
    for index, (kind, (predicted, measured)) in enumerate(points.items()):
        style = {"color": _COLOURS[index % len(_COLOURS)], "marker": _MARKERS[index % len(_MARKERS)]}
        label = f"{kind} ({len(measured)})"
        above.scatter(predicted / 1e6, measured / 1e6, s=22, alpha=0.8, label=label, **style)
        below.scatter(predicted / 1e6, 100 * (predicted / measured - 1), s=16, alpha=0.8, **style)
    _finish(above, below, np.concatenate([pair for both in points.values() for pair in both]) / 1e6)
    above.set_title(title, fontsize=11)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    write_atomic(path, picture.getvalue())


def _finish(above: Axes, below: Axes, every_ms: Floats) -> None:
    ends = (float(every_ms.min()) * 0.97, float(every_ms.max()) * 1.03)
    above.plot(ends, ends, color="0.6", linewidth=1, zorder=0)
    above.set_ylabel("measured, ms")
    above.legend(frameon=False)
    below.axhline(0, color="0.6", linewidth=1, zorder=0)
    below.set_ylabel("predicted / measured - 1, %")
    below.set_xlabel("predicted, ms")
    for axes in (above, below):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
