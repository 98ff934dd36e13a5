"""Every bundled study on other devices than the CPU: constraints, training steps, samples and metrics.

On the fake device (`fake_gpu`) this runs everywhere. `pytest -m gpu` does the same on a GPU, with the random
numbers of the CPU. Studies of published files need these under `../shared/data`.
"""

from contextlib import ExitStack, contextmanager, nullcontext

import pytest
import torch
from tests.device.fake_gpu import DEVICE, fake_gpu
from tests.device.noise import NoiseOfTheCPU
from tests.device.small_studies import NAMES, Run, prepared

from plumbline import devices
from plumbline.datasets._download import DataFileError

# Largest difference from the CPU, relative to the largest value of the same kind in the same part. The fake
# device takes other paths through torch and sums in another order than the CPU; a GPU has other kernels too.
ON_FAKE_DEVICE, ON_GPU = 1e-4, 1e-3
# Size below which values are compared absolutely: a distance of real data is zero but for rounding.
ROUNDING = 0.01
# Where a training step waits for the device: the file, and why it cannot do without.
WAITS_OF_TRAINING = {
    "distributions/_count_errors.py": "the distribution functions of counts are SciPy's, on the CPU",
    "models/predictive/_node_regression.py": "the number of atoms and bonds of a batch depends on its values",
    "samplers/_denoising.py": "a training that draws samples copies the times of their steps, once a draw",
    "samplers/_stepped.py": "the same: the times of the steps of a draw, once a draw",
    "solvers/exponential.py": "each trajectory has its own step, refined until it is accurate",
    "solvers/burgers.py": "each trajectory has its own step, refined until it is accurate",
}
# Studies for the self-tests of the comparison.
FEW = ("gaussian", "latent_digits", "fair_digits")


def on_cpu(name, data_of_study):
    data_of_study(name)
    try:
        study = prepared(name)
    except DataFileError as error:
        pytest.skip(f"NOT RUN, no data: {error}")
    run = Run(study, torch.device("cpu"), lambda part: nullcontext())
    run.all()
    failed = {part: error for part, error in run.errors.items() if not part.startswith("metrics.")}
    assert not failed, f"fails on the CPU: {failed}"
    return study, run


def compare(run, reference, largest):
    """No part fails that runs on the CPU, and all results agree."""
    failed = {part: error for part, error in run.errors.items() if part not in reference.errors}
    if failed:
        first = next(iter(failed.values()))
        raise AssertionError(f"{', '.join(failed)} fail") from first
    for part, expected in reference.results.items():
        found = run.results[part]
        assert found.keys() == expected.keys(), part
        gradient = max((_size(v) for n, v in expected.items() if n.startswith("gradient")), default=0.0)
        for name, value in expected.items():
            size = gradient if name.startswith("gradient") else _size(value)
            difference = (found[name].double() - value.double()).nan_to_num(0.0)
            assert (found[name].isnan() == value.isnan()).all(), f"{part}: {name}"
            apart = float(difference.abs().max()) if value.numel() else 0.0
            assert apart <= largest * max(size, ROUNDING), (
                f"{part}: {name} differs by {apart:.3g} of {size:.3g}"
            )


def _size(value):
    finite = value.double().nan_to_num(0.0, 0.0, 0.0)
    return float(finite.abs().max()) if value.numel() else 0.0


@pytest.mark.parametrize("name", NAMES)
def test_on_the_fake_device(name, data_of_study):
    study, reference = on_cpu(name, data_of_study)
    waits = {}
    with fake_gpu() as gpu:

        @contextmanager
        def watched(part):
            with gpu.recording() as noted:
                yield
            waits[part] = noted

        run = Run(study, DEVICE, watched)
        run.all()
    compare(run, reference, ON_FAKE_DEVICE)
    unknown = [
        f"{part}: {wait}"
        for part, noted in waits.items()
        if part.startswith("models.")
        for wait in noted
        if wait.where.split(":")[0] not in WAITS_OF_TRAINING
    ]
    assert not unknown, "these training steps wait for the device:\n" + "\n".join(sorted(set(unknown)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="NOT RUN, there is no GPU")
@pytest.mark.parametrize("name", NAMES)
def test_on_a_gpu(name, data_of_study):
    study, reference = on_cpu(name, data_of_study)
    run = Run(study, devices.choose("gpu"), lambda part: nullcontext())
    with NoiseOfTheCPU():
        run.all()
    compare(run, reference, ON_GPU)


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("device", ["cpu", "fakegpu"])
def test_the_test_on_a_gpu_works(name, device, data_of_study):
    """The comparison of `test_on_a_gpu`, on the CPU and on the fake device."""
    study, reference = on_cpu(name, data_of_study)
    with ExitStack() as stack:
        if device == "fakegpu":
            stack.enter_context(fake_gpu())
        stack.enter_context(NoiseOfTheCPU())
        run = Run(
            study,
            torch.device(device, 0) if device == "fakegpu" else torch.device("cpu"),
            lambda part: nullcontext(),
        )
        run.all()
    compare(run, reference, ON_GPU)


def test_the_comparison_sees_differences(data_of_study):
    study, reference = on_cpu("gaussian", data_of_study)
    run = Run(study, torch.device("cpu"), lambda part: nullcontext())
    run.all()
    part = next(part for part in run.results if part.startswith("methods."))
    run.results[part]["state"] = run.results[part]["state"] * 1.01
    with pytest.raises(AssertionError, match="state differs"):
        compare(run, reference, ON_GPU)
