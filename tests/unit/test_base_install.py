"""What runs where torch and the runtimes are absent: everything but torch's own modules can be imported."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import binas_deploy

ABSENT = ("torch", "onnxruntime", "openvino", "nncf", "tvm", "tensorrt")
IMPORT_ALL = f"""
import importlib, sys
sys.modules.update(dict.fromkeys({ABSENT!r}))  # None: importing it fails as if it were not installed
for name in sys.argv[1:]:
    importlib.import_module(name)
"""
MISSING_EXTRA = """
import sys
sys.modules["torch"] = None
sys.argv = ["binas-deploy", "estimate", "--supernet", "nowhere"]
from binas_deploy.cli.main import main
main()
"""


NEED_TORCH = ("binas_deploy.supernet.", "binas_deploy.adapters.torch.")


def test_every_module_but_torch_s_own_imports_without_the_extras() -> None:
    names = [info.name for info in pkgutil.walk_packages(binas_deploy.__path__, "binas_deploy.")]
    names = [name for name in names if not name.startswith(NEED_TORCH)] + ["binas_deploy.adapters.torch.device"]
    assert {"binas_deploy.steps.search", "binas_deploy.cli.main", "binas_deploy.graph"} <= set(names)
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_missing_extra_is_named_with_the_line_that_installs_it() -> None:
    done = subprocess.run([sys.executable, "-c", MISSING_EXTRA], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'binas-deploy[torch]'" in done.stderr
