"""Downloads one package's tarball with npm, from whichever registry the user's npm is set up for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

from binas_deploy.errors import EnvironmentFault

_SECONDS: Final = 3600


class NpmFault(EnvironmentFault):
    """npm is absent, or it failed."""


def npm_pack(package: str, folder: Path) -> None:
    """Run ``npm pack PACKAGE`` in ``folder``: the tarball is downloaded as it is, nothing is installed or run.

    Raises:
        NpmFault: no npm on the PATH, or it failed; what it said is in the message.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise NpmFault(f"{package} is downloaded with npm, which is not on the PATH.")
    command = [npm, "pack", package, "--ignore-scripts", "--loglevel=error"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=_SECONDS)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()[-600:] or "nothing"
        raise NpmFault(f"npm pack {package} failed with exit code {error.returncode}. npm said: {said}") from error
    except subprocess.TimeoutExpired as error:
        raise NpmFault(f"npm pack {package} did not finish within {_SECONDS // 60} minutes.") from error
    except OSError as error:
        raise NpmFault(f"npm cannot be run ({error.strerror or error}).") from error
