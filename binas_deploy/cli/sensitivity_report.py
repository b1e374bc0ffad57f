"""What quantising a bundle's network cost, as people read it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from binas_deploy.bundle.sensitivity import SENSITIVITY_NAME, Sensitivity
from binas_deploy.cli.render import facts, table

if TYPE_CHECKING:
    from binas_deploy.estimate import Estimate

_FP32: Final = "fp32"
_INT8: Final = "int8"


def with_sensitivity(text: str, bundle: Path) -> str:
    """``text``, before it the sensitivity report of the bundle where it has one.

    Raises:
        DocumentError: the report is damaged.
    """
    if not (bundle / SENSITIVITY_NAME).is_file():
        return text
    return f"{sensitivity_text(Sensitivity.load(bundle))}\n\n{text}"


def sensitivity_text(report: Sensitivity) -> str:
    """Each block with what it loses alone and how it was left, the most sensitive first; then the whole."""
    header = ("place", "block", "loss alone", "cosine", "SNR", "runs in")
    rows = [
        (
            row.place,
            row.block,
            f"{row.loss:+.2f} points",
            f"{row.cosine:.5f}",
            f"{row.snr_db:.1f} dB",
            _FP32 if row.place in report.kept else _INT8,
        )
        for row in report.blocks
    ]
    return f"{table(header, rows)}\n\n{facts(_summary(report))}"


def _summary(report: Sensitivity) -> list[tuple[str, str]]:
    images, count = report.images, len(report.kept)
    kept = f"{count} of {len(report.blocks)} blocks stay in fp32" if count else "every block runs in int8"
    judged = f"{images.drop} images of {images.split}"
    rows = [
        ("quantised", f"by {report.quantiser}, ranges of {images.calibration} held-out images; {kept}"),
        ("drop", f"{_points(report.drop)}, at most {report.allowed:g} allowed"),
        ("", f"{report.fp32.value:.2f} % in fp32, {report.int8.value:.2f} % in int8, on {judged}"),
    ]
    if count:
        rows.append(("", f"{_points(report.whole)} with every block in int8"))
        rows.append(("note", "the latency was predicted for int8 in every block: verify measures it as it is"))
    return rows


def _points(drop: Estimate) -> str:
    return f"{drop.value:.2f} points of accuracy ({drop.low:.2f} to {drop.high:.2f}, 95 %)"
