r"""The Frechet Inception distance, FID (Heusel et al., NeurIPS 2017), with the Inception network from a file.

The network is the TorchScript export that the literature compares by (`inception-2015-12-05.pt` of Karras et al. 2021): called as
`network(images, return_features=True)` with images (B, 3, H, W) of whole numbers from 0 to 255, it gives 2048 features.
The library does not bring it: without network access nothing could fetch it, and nothing else may be called by this name.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from plumbline.input_files import InputFile, ReadsFiles
from plumbline.metrics import EvaluationContext, MetricSpec, scalar
from plumbline.metrics.frechet import frechet_distance

if TYPE_CHECKING:
    import xarray as xr

# Images that go through the network together.
CHUNK = 64


class InceptionFrechetSpec(ReadsFiles, MetricSpec):
    """FID to the test split, of images with values from 0 to 1."""

    kind: Literal["inception_frechet"] = "inception_frechet"
    resampled: ClassVar[bool] = False
    weights: str
    """The TorchScript file of the Inception network."""

    def input_files(self) -> tuple[InputFile, ...]:
        what = "the TorchScript export of the Inception network, inception-2015-12-05.pt"
        return (InputFile("weights", self.weights, what),)

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        network = _network(Path(self.weights))
        test = dataset["state"].values[dataset["split"].values == "test"]
        drawn, real = (_features(network, states) for states in (samples["state"].values, test))
        distance = frechet_distance(drawn, real)
        return xr.Dataset({"fid": scalar(distance, "FID", "lower", "squared features")})


def _network(weights: Path) -> Any:
    import torch

    if not weights.is_file():
        raise FileNotFoundError(
            f"`weights`: there is no file {weights}. It should be the TorchScript export of the Inception network, "
            "inception-2015-12-05.pt; give its path, or take the metric out."
        )
    return torch.jit.load(str(weights), map_location="cpu").eval()


def _features(network: Any, states: np.ndarray) -> np.ndarray:
    """Features (samples, F) of images (samples, H, W) or (samples, C, H, W), C one or three.

    Raises:
        ValueError: the samples are not images.
    """
    import torch

    if states.ndim == 3:
        states = states[:, None]
    if states.ndim != 4 or states.shape[1] not in (1, 3):
        raise ValueError(
            f"`inception_frechet` is of images in one colour or three, and samples have the shape {states.shape[1:]}."
        )
    parts = []
    with torch.no_grad():
        for first in range(0, len(states), CHUNK):
            values = torch.as_tensor(states[first : first + CHUNK], dtype=torch.float32)
            levels = (values * 255).round().clamp(0, 255).to(torch.uint8)
            parts.append(network(levels.expand(-1, 3, -1, -1), return_features=True).double())
    return torch.cat(parts).numpy()
