"""The published JSON schema of a latency table is that of the code, and real tables are valid by it."""

from __future__ import annotations

import json
from pathlib import Path

from binas_deploy.table.document import TABLE_VERSION, TableDocument

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "docs" / "formats" / f"latency-table-v{TABLE_VERSION}.schema.json"


def schema() -> str:
    made = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"binas-deploy/latency-table/{TABLE_VERSION}",
        **TableDocument.model_json_schema(),
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def test_the_published_schema_is_that_of_the_code() -> None:
    """Where the format changed on purpose, write `schema()` into the file."""
    assert SCHEMA.read_text(encoding="utf-8") == schema()


def test_every_field_of_a_table_is_in_it() -> None:
    golden = json.loads((ROOT / "tests/data/formats/latency-table-v1.json").read_text(encoding="utf-8"))
    published = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert set(golden) == set(published["properties"]) - {"energy", "grown_from"} == set(published["required"])
