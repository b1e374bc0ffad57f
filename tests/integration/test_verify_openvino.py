"""Verifying a bundle on OpenVINO for real: its IR is what is loaded and measured, and nothing is converted again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from binas_deploy.accuracy import AccuracyModel
from binas_deploy.adapters import openvino_ir
from binas_deploy.budget import Budget
from binas_deploy.bundle.manifest import Manifest, file_entry, read_model
from binas_deploy.bundle.verification import Parity, Verdict
from binas_deploy.devices import TimingSpec, load_device_spec
from binas_deploy.errors import DocumentError
from binas_deploy.space import SearchSpace
from binas_deploy.steps.formats import formats_to_make, write_formats
from binas_deploy.steps.loading import load
from binas_deploy.steps.profile import profile
from binas_deploy.steps.search import search
from binas_deploy.steps.verify import verify
from binas_deploy.testing.bundles import write_bundle

pytest.importorskip("openvino")


def test_its_ir_is_measured_as_it_stands(
    tiny_space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timing = TimingSpec(warmup_ms=0.1, samples_per_visit=4, min_rounds=6, max_rounds=6, networks=12)
    intel = load_device_spec("intel")
    spec = intel.model_copy(update={"timing": timing, "options": {**intel.options, "target": "CPU"}})
    _, table = profile(tiny_space, spec, workspace=tmp_path)
    archs = [tiny_space.sample(np.random.default_rng(seed)) for seed in range(40)]
    model = AccuracyModel.fit(tiny_space, [(arch, 20 + tiny_space.macs(arch) / 1e5) for arch in archs])
    result = search(tiny_space, accuracy=model, budgets=[Budget.parse("10s")], tables=[table])
    folder = tmp_path / "bundle"
    manifest = write_bundle(folder, result, table)
    makings = formats_to_make(None, spec, precision="fp32", workspace=tmp_path)
    made = write_formats(makings, read_model(folder, manifest), folder, conditions=table.conditions)
    names = ("model.xml", "model.bin")
    files = {**manifest.files, **{name: file_entry(folder / name) for name in names}}
    replace(manifest, formats=made, files=files).save(folder)
    assert list(Manifest.load(folder).formats) == ["onnx", "openvino"]

    read, original = [], openvino_ir.unpacked

    def counted(payload: bytes) -> tuple[bytes, bytes]:
        read.append(1)
        return original(payload)

    monkeypatch.setattr(openvino_ir, "unpacked", counted)
    monkeypatch.setattr(openvino_ir, "converted", lambda *_: pytest.fail("converted again"))
    report = verify(folder, device=spec, workspace=tmp_path, accuracy="never")
    assert report.program_sha256 == made["openvino"].program_sha256
    assert isinstance(report.parity, Parity)
    assert (report.parity.verdict, report.latency.verdict) == (Verdict.PASS, Verdict.PASS)
    assert read == [1]  # the anchors are ONNX

    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    with load(folder, device="intel") as network:
        assert network.format == "openvino"
        assert network.logits(pixels).shape == (2, 5)
    (folder / "model.bin").write_bytes((folder / "model.bin").read_bytes()[:-1] + b"\x7f")
    with pytest.raises(DocumentError, match=r"model\.bin: SHA-256"):
        verify(folder, device=spec, workspace=tmp_path, accuracy="never")
