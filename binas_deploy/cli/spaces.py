"""``binas-deploy spaces``: the search spaces there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from binas_deploy.cli.options import Session, common

if TYPE_CHECKING:
    from binas_deploy.space import SearchSpace


@click.command("spaces")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@common
def command(session: Session, files: tuple[str, ...]) -> None:
    """List the search spaces and what ships trained for them.

    With FILEs, check these space files instead and describe their spaces.
    """
    from binas_deploy.cli.render import table
    from binas_deploy.space_file import load_space, space_names

    described = [_describe(load_space(name)) for name in files or space_names()]
    session.document("spaces", {"spaces": described})
    header = ("space", "input", "networks", "blocks", "MMAC", "M params", "usable for")
    session.show(table(header, [_row(item) for item in described]))


def _describe(space: SearchSpace) -> dict[str, Any]:
    from binas_deploy.shipped import shipped_file

    extremes = (space.smallest(), space.largest())
    return {
        "name": space.name,
        "fingerprint": space.fingerprint,
        "input_shape": list(space.input_shape),
        "classes": space.classes,
        "networks": space.size,
        "pieces": len(space.blocks()),
        "macs": [space.macs(arch) for arch in extremes],
        "params": [space.params(arch) for arch in extremes],
        "ships_accuracy_model": shipped_file(space.name, "accuracy.json") is not None,
        "ships_supernet": shipped_file(space.name, "supernet.json") is not None,
    }


def _row(item: dict[str, Any]) -> tuple[object, ...]:
    shape = "x".join(map(str, item["input_shape"]))
    macs, params = ("-".join(f"{value / 1e6:.3g}" for value in item[key]) for key in ("macs", "params"))
    return (item["name"], shape, f"{item['networks']:.1e}", item["pieces"], macs, params, _usable(item))


def _usable(item: dict[str, Any]) -> str:
    searchable = "profile, search" if item["ships_accuracy_model"] else "profile; search needs --accuracy FILE"
    return searchable + (", export, deploy" if item["ships_supernet"] else "; export needs --supernet FOLDER")
