"""What `devices setup` runs on the device, by the Python that is there: it looks around, or installs the agent.

The text of this file is sent to ``python3 -``, followed by ``REQUEST = ...`` (JSON) and a call of `main`, so it uses
the standard library alone and no syntax newer than Python 3.6. Its answer is one line of JSON after `MARK`.
"""

import base64
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from typing import Any, Dict, List

MARK = "BINAS-DEPLOY-SETUP "
REQUEST = "{}"
LEAST_PYTHON = (3, 10)
KEPT_OUTPUT = 4000

PACKAGES_CODE = """
import importlib.metadata, importlib.util, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        if importlib.util.find_spec(name) is None:
            continue
    except ImportError:
        continue
    owners = importlib.metadata.packages_distributions().get(name, [])
    found[name] = importlib.metadata.version(owners[0]) if owners else "unknown"
try:
    found["binas-deploy"] = importlib.metadata.version("binas-deploy")
except importlib.metadata.PackageNotFoundError:
    pass
sys.stdout.write(json.dumps(found))
"""


def look(request: "Dict[str, Any]") -> "Dict[str, Any]":
    """What is there; nothing is changed."""
    folder = os.path.expanduser(os.path.join("~", request["agent"]))
    return {
        "python": list(sys.version_info[:3]),
        "enough": sys.version_info[:2] >= LEAST_PYTHON,
        "executable": sys.executable,
        "os": os_name(),
        "kernel": "{} {} {}".format(platform.system(), platform.release(), platform.machine()),
        "venv": has_module("venv") and has_module("ensurepip"),
        "runtime": has_module(request["package"]),
        "folder": folder,
        "taken": is_taken(folder),
        "packages": packages(folder, request["packages"]),
    }


def install(request: "Dict[str, Any]") -> "Dict[str, Any]":
    """The agent's own environment with the package; what is installed already stays as it is."""
    folder = os.path.expanduser(os.path.join("~", request["agent"]))
    if not runs(folder, "-m", "pip", "--version"):
        words = ["--system-site-packages"] if request["system"] else []
        made = run([sys.executable, "-m", "venv", "--clear"] + words + [folder])
        if made.returncode != 0:
            return {"failed": "venv", "output": tail(made)}
    temporary = tempfile.mkdtemp()
    try:
        wheel = os.path.join(temporary, request["wheel"])
        with open(wheel, "wb") as stream:
            stream.write(base64.b64decode(request["content"]))
        what = wheel + ("[" + request["extra"] + "]" if request["extra"] else "")
        pip = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input", what]
        done = run([python_of(folder)] + pip)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if done.returncode != 0:
        return {"failed": "pip", "output": tail(done)}
    return {"packages": packages(folder, request["packages"])}


def packages(folder: str, names: "List[str]") -> "Dict[str, str]":
    """Which of these packages the agent's environment has, in which version."""
    done = run([python_of(folder), "-c", PACKAGES_CODE] + names) if os.path.exists(python_of(folder)) else None
    found: "Dict[str, str]" = json.loads(done.stdout) if done is not None and done.returncode == 0 else {}
    return found


def is_taken(folder: str) -> bool:
    """Whether the folder holds what is no Python environment."""
    if not os.path.isdir(folder):
        return os.path.exists(folder)
    return bool(os.listdir(folder)) and not os.path.exists(os.path.join(folder, "pyvenv.cfg"))


def python_of(folder: str) -> str:
    """The interpreter of an environment."""
    return os.path.join(folder, "bin", "python")


def runs(folder: str, *words: str) -> bool:
    """Whether the environment's interpreter is there and does that."""
    return os.path.exists(python_of(folder)) and run([python_of(folder)] + list(words)).returncode == 0


def has_module(name: str) -> bool:
    """Whether a module can be imported, without importing it."""
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:  # of what a dotted name begins with
        return False


def run(words: "List[str]") -> "subprocess.CompletedProcess[str]":
    """A finished process with its output as text, both streams together in the order said."""
    return subprocess.run(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
    )


def tail(done: "subprocess.CompletedProcess[str]") -> str:
    """The last of what a process said."""
    return done.stdout[-KEPT_OUTPUT:]


def os_name() -> str:
    """The name that the system gives itself."""
    try:
        with open("/etc/os-release") as stream:
            lines = dict(line.rstrip().split("=", 1) for line in stream if "=" in line)
        return lines.get("PRETTY_NAME", "").strip('"') or platform.system()
    except OSError:
        return platform.system()


def main() -> None:
    """Do what is asked and say what came of it."""
    request = json.loads(REQUEST)
    answer = {"look": look, "install": install}[request["do"]](request)
    sys.stdout.write("\n" + MARK + json.dumps(answer) + "\n")
