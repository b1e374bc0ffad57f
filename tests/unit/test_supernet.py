"""Torch modules: weight sharing, extraction, agreement with the ONNX builder, storage, resumable training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # the networks are tiny: threads only wait for each other

from binas_deploy.data.base import Dataset, Split, normalise  # noqa: E402  # after the skip
from binas_deploy.errors import DocumentError, InputError, MismatchError  # noqa: E402
from binas_deploy.graph import build_network  # noqa: E402
from binas_deploy.model import INPUT_NAME  # noqa: E402
from binas_deploy.space import Architecture, SearchSpace  # noqa: E402
from binas_deploy.space_file import load_space  # noqa: E402
from binas_deploy.steps.train import train  # noqa: E402
from binas_deploy.supernet.evaluate import recalibrated, top1  # noqa: E402
from binas_deploy.supernet.modules import BatchNorm, BottleneckModule  # noqa: E402
from binas_deploy.supernet.network import Network, Supernet, extract, folded_weights, sort_channels  # noqa: E402
from binas_deploy.supernet.recipe import Phase, Recipe, default_recipe  # noqa: E402
from binas_deploy.supernet.store import load_supernet, load_weights, save_weights  # noqa: E402
from binas_deploy.supernet.training import Training  # noqa: E402
from binas_deploy.supernet_info import SupernetInfo  # noqa: E402


def images(count: int, seed: int, side: int = 8, classes: int = 5) -> Split:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=count)
    noise = rng.integers(0, 128, size=(count, 3, side, side))
    return Split((noise + labels[:, None, None, None] * 25).astype(np.uint8), labels.astype(np.int64))


@pytest.fixture(scope="module")
def tiny_data() -> Dataset:
    return Dataset.build("tiny", [f"class{k}" for k in range(5)], images(96, 0), images(40, 1), images(40, 2))


def settled(network: Network, seed: int = 0) -> Network:
    """Normalisation as of a trained network: scales of its own, statistics of what passes through."""
    generator = torch.Generator().manual_seed(seed)
    norms = [part for part in network.modules() if isinstance(part, BatchNorm)]
    for norm in norms:
        norm.weight.data.uniform_(0.5, 1.5, generator=generator)
        norm.bias.data.uniform_(-0.3, 0.3, generator=generator)
        norm.collecting = 1
    with torch.no_grad():
        network.train()(torch.randn(4, *network.space.input_shape, generator=generator))
    for norm in norms:
        norm.collecting = 0
    return network.eval()


def random_architectures(space: SearchSpace, count: int) -> list[Architecture]:
    rng = np.random.default_rng(5)
    return [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(count))]


@pytest.mark.parametrize(("name", "count"), [("tiny", 20), ("cifar10", 6), ("mobilenetv3", 1)])
def test_torch_and_onnx_agree(name: str, count: int, tiny_space: SearchSpace) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    space = tiny_space if name == "tiny" else load_space(name)
    torch.manual_seed(0)
    for index, arch in enumerate(random_architectures(space, count)):
        network = settled(Network(space, arch), index)
        feed = np.random.default_rng(index).standard_normal((1, *space.input_shape), dtype=np.float32)
        with torch.inference_mode():
            expected = network(torch.from_numpy(feed)).numpy()
        model = build_network(space, arch, folded_weights(network))
        session = onnxruntime.InferenceSession(model.payload, providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {INPUT_NAME: feed})
        assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_an_extracted_network_computes_what_the_supernet_does(tiny_space: SearchSpace) -> None:
    torch.manual_seed(0)
    supernet = Supernet(tiny_space).train()
    batch = torch.randn(6, *tiny_space.input_shape)
    for arch in random_architectures(tiny_space, 10):
        assert torch.allclose(extract(supernet, arch).train()(batch), supernet(batch, arch), atol=1e-5)


def test_smaller_networks_share_the_weights_of_larger_ones(tiny_space: SearchSpace) -> None:
    supernet = Supernet(tiny_space).train()
    supernet(torch.randn(4, *tiny_space.input_shape), tiny_space.smallest()).sum().backward()
    touched = {name for name, p in supernet.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    everything = {name for name, _ in supernet.named_parameters()}
    assert touched < everything
    assert any(name.startswith("stages") for name in touched)


def test_sorting_channels_keeps_the_function_and_orders_importance(tiny_space: SearchSpace) -> None:
    torch.manual_seed(0)
    supernet = Supernet(tiny_space).train()
    batch = torch.randn(16, *tiny_space.input_shape)
    before = supernet(batch, tiny_space.largest())
    sort_channels(supernet)
    assert torch.allclose(supernet(batch, tiny_space.largest()), before, atol=1e-4)
    for module in supernet.modules():
        if isinstance(module, BottleneckModule):
            importance = module.project.weight.abs().sum((0, 2, 3)) * module.depthwise_bn.weight.abs()
            assert bool((importance.diff() <= 1e-6).all())


def test_recalibration_collects_the_mean_over_training_images(tiny_space: SearchSpace, tiny_data: Dataset) -> None:
    network = recalibrated(Network(tiny_space, tiny_space.largest()), tiny_data)
    batch = torch.from_numpy(normalise(tiny_data.train.images, tiny_data.mean, tiny_data.std))
    convolved = torch.nn.functional.conv2d(batch, network.stem.conv.weight, None, tiny_space.stem.stride, 1)
    assert torch.allclose(network.stem.conv_bn.running_mean, convolved.mean((0, 2, 3)), atol=1e-4)
    assert torch.allclose(network.stem.conv_bn.running_var, convolved.var((0, 2, 3)), rtol=1e-3)


def test_training_learns(tiny_space: SearchSpace, tiny_data: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(0)
    phases = (Phase("largest", 6, 0.1), Phase("supernet", 4, 0.05, sandwich=True))
    training = Training(Supernet(tiny_space), tiny_data, Recipe(phases, batch=8), tmp_path, device=torch.device("cpu"))
    training.run()
    for arch in (tiny_space.largest(), tiny_space.smallest()):
        network = recalibrated(extract(training.supernet, arch), tiny_data)
        assert top1(network, tiny_data, tiny_data.test) > 50  # five classes that differ in brightness; chance is 20


def test_the_stored_figures_are_those_of_the_stored_weights(
    tiny_space: SearchSpace, tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("binas_deploy.steps.train.load_dataset", lambda *_, **__: tiny_data)
    info = train(tiny_space, output=tmp_path, largest_epochs=1, supernet_epochs=1, batch=16, command="as typed")
    supernet, loaded = load_supernet(tmp_path)
    assert loaded == info
    assert loaded.command == "as typed"
    largest = recalibrated(extract(supernet, tiny_space.largest()), tiny_data)
    assert top1(largest, tiny_data, tiny_data.test) == info.figures.largest_top1
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 1 + 2


def test_a_killed_run_continues_to_the_same_weights(
    tiny_space: SearchSpace, tiny_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("binas_deploy.supernet.training.CHECKPOINT_SECONDS", 0.0)
    recipe = default_recipe(2, 2, seed=3, batch=16)

    def training(folder: Path) -> Training:
        torch.manual_seed(3)
        return Training(Supernet(tiny_space), tiny_data, recipe, folder, device=torch.device("cpu"))

    whole = training(tmp_path / "whole")
    whole.run()
    steps = 0

    class Killed(Exception):
        pass

    original = Training._step

    def step(self: Training, *arguments: object) -> float:
        nonlocal steps
        steps += 1
        if steps in (4, 11, 19):
            raise Killed
        return original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Training, "_step", step)
    for _ in range(3):
        with pytest.raises(Killed):
            training(tmp_path / "killed").run()
    last = training(tmp_path / "killed")
    last.run()
    for name, tensor in whole.supernet.state_dict().items():
        assert torch.equal(tensor, last.supernet.state_dict()[name]), name


def test_a_run_of_another_recipe_is_refused(tiny_space: SearchSpace, tiny_data: Dataset, tmp_path: Path) -> None:
    for seed, refused in ((1, False), (2, True)):
        recipe = default_recipe(1, 1, seed=seed, batch=16)
        supernet = Supernet(tiny_space)
        if refused:
            with pytest.raises(MismatchError, match="another recipe"):
                Training(supernet, tiny_data, recipe, tmp_path, device=torch.device("cpu"))
        else:
            Training(supernet, tiny_data, recipe, tmp_path, device=torch.device("cpu")).run()


def test_damaged_or_foreign_weights_are_refused(tiny_space: SearchSpace, tmp_path: Path) -> None:
    path = save_weights(Supernet(tiny_space), tmp_path)
    load_weights(Supernet(tiny_space), path)
    with pytest.raises(DocumentError, match="do not fit space"):
        load_weights(Supernet(load_space("cifar10")), path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DocumentError, match="safetensors"):
        load_weights(Supernet(tiny_space), path)


def test_a_folder_without_a_finished_supernet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished supernet"):
        SupernetInfo.load(tmp_path)
