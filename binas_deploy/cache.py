"""Where fetched and compiled things are kept between runs; deleting it loses nothing that cannot be made again.

But for one count: how often test images were used (`steps.ledger`) begins anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import platformdirs

CACHE_VARIABLE: Final = "BINAS_DEPLOY_CACHE"


def cache_folder() -> Path:
    """``$BINAS_DEPLOY_CACHE``, else the platform's cache folder."""
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("binas-deploy", appauthor=False))


def compiled_cache() -> Path:
    """Where devices keep what they compile."""
    return cache_folder() / "compiled"
