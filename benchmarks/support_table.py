"""README's table of devices, from what ran: benchmarks/results/every_device.json and the built-in device files.

A device that is in the results ran there, with its date, machine and agreement; any other is written against its
runtime's documentation and has not been verified. Nothing else is claimed.

    python benchmarks/support_table.py           # prints the table
    python benchmarks/support_table.py --write   # puts it into README.md
    python benchmarks/support_table.py --check   # exit code 1 where README.md has another
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from every_device import NAME
from record import RESULTS, parser_of

from binas_deploy.devices import device_files, load_device_spec
from binas_deploy.documents import write_atomic

README: Final = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- support table: benchmarks/support_table.py --write -->", "<!-- end of support table -->"
NOT_YET: Final = "written against the API, not yet verified"


def main() -> None:
    """Print, write or check."""
    parser = parser_of(__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    made, text = _table(), README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    now, _, after = rest.partition(END)
    if args.write:
        write_atomic(README, f"{before}{BEGIN}\n{made}\n{END}{after}".encode())
    elif args.check and now.strip() != made:
        sys.exit("README.md: the support table is not that of the results; run support_table.py --write")
    else:
        print(made)


def _table() -> str:
    results = json.loads((RESULTS / f"{NAME}.json").read_text(encoding="utf-8"))["devices"]
    lines = ["| Device | Adapter | Verified on hardware | Outputs differ by |", "|---|---|---|---|"]
    for name in device_files():
        row = results.get(name, {"ran": False})
        lines.append(f"| `{name}` | {load_device_spec(name).adapter} | {_verified(row)} | {_difference(row)} |")
    return "\n".join(lines)


def _verified(row: dict[str, Any]) -> str:
    return f"{row['date'][:10]}: {row['runtime']}, {row['device_model']}" if row["ran"] else NOT_YET


def _difference(row: dict[str, Any]) -> str:
    return f"{row['difference']:.0e} ({row['precision']})" if row["ran"] else ""


if __name__ == "__main__":
    main()
