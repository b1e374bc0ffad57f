"""The ``README.md`` of a bundle: how to use it, what it is, how to check it, and what the words mean."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from binas_deploy.bundle.files import README_NAME, file_entry
from binas_deploy.bundle.manifest import Manifest
from binas_deploy.bundle.reproduce import command_text
from binas_deploy.conditions import unmeasured_text
from binas_deploy.documents import write_atomic
from binas_deploy.estimate import Estimate
from binas_deploy.quantities import format_quantity

_TEXT: Final = """\
# {name}

A network that was searched to take a {statistic} latency of at most {budget} on the device `{device}` ({conditions}).
{simulated}
## Use it

```python
import binas_deploy
network = binas_deploy.load("export/{name}")  # the path of this folder
print(network.predict("picture.png"))
```

`predict` takes the path of a PNG or JPEG, RGB pixels (uint8, height x width x 3), a PIL image, or several of them, and
gives the labels and the probabilities of all {classes} classes; `network.logits(...)` gives the raw outputs. It takes
`pip install 'binas-deploy[cpu]'` for ONNX, and other formats their own runtimes; neither torch nor training images.
Without this tool: the network takes {shape} float32 RGB, `(pixel / 255 - mean) / std` with mean {mean} and
std {std}; `manifest.json` and the metadata of `model.onnx` say the same.

## What was asked, and what is predicted

| | |
|---|---|
| asked | {statistic} latency of at most {budget} on `{device}`: {conditions} |
| predicted latency | {latency} |
| predicted accuracy | {accuracy} |
| accuracy on held-out images | {holdout} |
| network | {params} M parameters, {macs} MMAC, space `{space}` |

```
{architecture}
```

## What is in it

| Format | Files | Precision | Made by |
|---|---|---|---|
{formats}

{files} `manifest.json` states the size and SHA-256 of every file, this one included; loading and
verifying refuse a file that is not the one stated, before anything runs. That shows damage, not who made the bundle: a
program is code, so load bundles of people you trust.{engine}

## Check it

```
binas-deploy verify export/{name}
```

It loads the device's own format as it stands here, where there is one (nothing is built again), and compares outputs
with those stored, latency with the budget and the prediction, and accuracy with the prediction. It writes
`verification.json`, which names the hash of the program that was measured. Exit code 0: all holds; 1: something does
not; 4: something could not be decided or measured.

## Make it again

{reproduce}

## What the words mean

- *Optimal* is the searched network for two models, of latency and of accuracy; their errors are the intervals above.
- *Predicted* is what a latency table says, *measured* is what `verify` found.
- *Verified* holds for that program, on that device, in that rhythm of calls, with the machine in that state. It is not
  about another machine, another version of the runtime, or a busier day.
- *Accuracy* is that of weights inherited from the supernet. Trained further, networks get better, and may rank
  otherwise.
- A builder of engines chooses kernels for the whole network by timing them, so that its parts need not add up.
"""
_SIMULATED: Final = "\n**Not measured**: the latency table is {why}.\n"
_ENGINE: Final = (
    " `model.engine` begins with two lines of text that say where it was built; `tail -n +3 model.engine` leaves "
    "TensorRT's own."
)


def with_readme(folder: Path, manifest: Manifest) -> Manifest:
    """Write the README of a bundle folder; the manifest that states it too.

    Raises:
        EnvironmentFault: no permission or no space.
    """
    write_atomic(folder / README_NAME, readme_text(manifest).encode())
    return replace(manifest, files={**manifest.files, README_NAME: file_entry(folder / README_NAME)})


def readme_text(manifest: Manifest) -> str:
    """The README, as Markdown."""
    space, asked, made = manifest.space, manifest.asked, manifest.preprocessing
    predicted = manifest.predicted
    return _TEXT.format(
        name=manifest.name,
        statistic=asked.statistic,
        budget=asked.budget,
        device=asked.device,
        conditions=_conditions(manifest),
        simulated=_SIMULATED.format(why=unmeasured_text(manifest.identity)) if manifest.simulated else "",
        classes=len(manifest.labels),
        shape=" x ".join(map(str, manifest.input.shape)),
        mean=_numbers(made.mean),
        std=_numbers(made.std),
        latency=_scaled(predicted.latency, 1e-6, "ms"),
        accuracy=_scaled(predicted.accuracy, 1, "%"),
        holdout=_scaled(predicted.holdout_accuracy, 1, "%") if predicted.holdout_accuracy else "not evaluated",
        params=f"{space.params(manifest.architecture) / 1e6:.3f}",
        macs=f"{space.macs(manifest.architecture) / 1e6:.2f}",
        space=space.name,
        architecture=manifest.text.replace("], [", "],\n ["),
        formats="\n".join(_format_row(manifest, name) for name in manifest.formats),
        files="`vectors.safetensors` holds inputs and the outputs that torch gave for them.",
        engine=_ENGINE if any("model.engine" in entry.files for entry in manifest.formats.values()) else "",
        reproduce=_reproduce(manifest),
    )


def _conditions(manifest: Manifest) -> str:
    asked = manifest.asked
    threads = f"{asked.threads} thread" + ("" if asked.threads == 1 else "s")
    return f"{threads}, {asked.precision}, batch {asked.batch}, {asked.cadence}"


def _format_row(manifest: Manifest, name: str) -> str:
    entry = manifest.formats[name]
    files = ", ".join(f"`{file}` ({format_quantity(manifest.files[file].bytes, 'size')})" for file in entry.files)
    made = ", ".join(f"{package} {version}" for package, version in entry.versions.items()) or "not stated"
    return f"| {name} | {files} | {entry.precision} | {made} |"


def _scaled(estimate: Estimate, factor: float, unit: str) -> str:
    value, low, high = (f"{factor * number:.4g}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} {unit} ({low} to {high}, {100 * estimate.confidence:.0f} %)"


def _numbers(values: tuple[float, ...]) -> str:
    return f"({', '.join(f'{value:.6g}' for value in values)})"


def _reproduce(manifest: Manifest) -> str:
    if not manifest.reproduce:
        return "Nobody recorded how it was made."
    return (
        f"```\n{command_text(manifest.reproduce)}\n```\n\n"
        "It takes the latency table, accuracy model and supernet whose digests `manifest.json` states; of a space that "
        "does not come with the tool, give the file."
    )
