"""``binas-deploy export``: write a searched network as a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from binas_deploy.cli.options import (
    PATH,
    Session,
    common,
    data_option,
    max_drop_option,
    precision_option,
    seed_option,
    supernet_option,
    table_option,
)


@click.command("export")
@click.argument("search_result", type=PATH)
@click.option("--output", type=PATH, help="Bundle folder  [default: export/<space>-<device>-<budget>].")
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="NAME",
    help="onnx, openvino, tensorrt, torch (torch.export) or tvm; again for each. ONNX is always there.  "
    "[default: what the device loads]",
)
@supernet_option
@table_option
@precision_option
@max_drop_option
@data_option
@seed_option
@common
def command(
    session: Session,
    search_result: Path,
    output: Path | None,
    formats: tuple[str, ...],
    supernet: Path | None,
    table: Path | None,
    precision: str | None,
    max_drop: float,
    data: str,
    seed: int,
) -> None:
    """Write a searched network as a bundle: formats, test vectors, hashes, README.

    SEARCH_RESULT is a file of 'search'. Batch norm is recalibrated on training images, which must be there. A format
    whose runtime is missing is refused before anything is written. binas_deploy.load("export/NAME") uses a bundle. The
    precision is that of the search; one that is typed must be the same. In int8, held-out images calibrate the network
    and judge what that costs: sensitivity.json tells it by block. Exits with 1 where --max-drop cannot be kept.
    """
    from binas_deploy.cli.bundle_report import bundle_text
    from binas_deploy.cli.sensitivity_report import with_sensitivity
    from binas_deploy.search_result import SearchResult
    from binas_deploy.steps.export import export
    from binas_deploy.table import LatencyTable

    bundle = export(
        SearchResult.load(search_result),
        table=LatencyTable.load(table) if table else None,
        output=output,
        formats=formats or None,
        workspace=session.workspace,
        supernet=supernet,
        data=data,
        precision=precision,
        max_drop=max_drop,
        seed=seed,
        progress=session.progress,
    )
    session.file(bundle / "manifest.json")
    session.show(with_sensitivity(bundle_text(bundle), bundle))
