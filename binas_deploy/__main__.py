"""``python -m binas_deploy``: as the script ``binas-deploy``, by the interpreter that runs it."""

from __future__ import annotations

from binas_deploy.cli.main import main

if __name__ == "__main__":
    main()
