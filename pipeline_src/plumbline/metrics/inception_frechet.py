r"""The Frechet Inception distance, FID (Heusel et al., NeurIPS 2017, https://arxiv.org/abs/1706.08500).

The Inception network is read from a file: the TorchScript export with which the literature compares,
`inception-2015-12-05.pt`, published with StyleGAN2-ADA (Karras et al., NeurIPS 2020,
https://arxiv.org/abs/2006.06676). Called as `network(images, return_features=True)` with images (B, 3, H, W)
of whole numbers from 0 to 255, it returns 2048 features. The library neither contains nor downloads it, and
no other features may be called FID.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from plumbline.input_files import InputFile, ReadsFiles
from plumbline.metrics import EvaluationContext, MetricSpec, scalar
from plumbline.metrics._splits import values_of
from plumbline.metrics.frechet import frechet_distance

if TYPE_CHECKING:
    import xarray as xr
    from torch.jit import ScriptModule

# Number of images per forward pass.
CHUNK = 64


class InceptionFrechetSpec(ReadsFiles, MetricSpec):
    """FID to the test split, for images with values from 0 to 1."""

    kind: Literal["inception_frechet"] = "inception_frechet"
    resampled: ClassVar[bool] = False
    weights: str
    """Path of the TorchScript file of the Inception network."""

    def input_files(self) -> tuple[InputFile, ...]:
        what = "the TorchScript export of the Inception network, inception-2015-12-05.pt"
        return (InputFile("weights", self.weights, what),)

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        network = _network(Path(self.weights)).to(by.device)
        test = values_of(dataset, "test")
        drawn, real = (_features(network, states, by) for states in (samples["state"].values, test))
        distance = frechet_distance(drawn, real)
        return xr.Dataset({"fid": scalar(distance, "FID", "lower", "squared features")})


def _network(weights: Path) -> ScriptModule:
    import torch

    if not weights.is_file():
        raise FileNotFoundError(
            f"`weights`: there is no file {weights}. It must be the TorchScript export of the Inception "
            "network, inception-2015-12-05.pt. Set its path, or remove the metric from the study."
        )
    return torch.jit.load(str(weights), map_location="cpu").eval()


def _features(network: ScriptModule, states: np.ndarray, by: EvaluationContext) -> np.ndarray:
    """Features (samples, F) of images (samples, H, W) or (samples, C, H, W), C one or three.

    Raises:
        ValueError: the samples are not images.
    """
    import torch

    if states.ndim == 3:
        states = states[:, None]
    if states.ndim != 4 or states.shape[1] not in (1, 3):
        raise ValueError(
            f"`inception_frechet` needs images with one or three channels, and samples have the shape "
            f"{states.shape[1:]}."
        )
    parts = []
    with torch.no_grad():
        for first in range(0, len(states), CHUNK):
            values = by.tensor(states[first : first + CHUNK], torch.float32)
            levels = (values * 255).round().clamp(0, 255).to(torch.uint8)
            parts.append(network(levels.expand(-1, 3, -1, -1), return_features=True).double().cpu())
    return torch.cat(parts).numpy()
