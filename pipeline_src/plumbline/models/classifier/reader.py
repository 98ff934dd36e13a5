"""What classifiers share: standardised images, and the features that they are told by."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models.classifier import ImageClassifierSpec
from plumbline.models.spaces.standardisation import Standardisation
from plumbline.networks import SampleShape
from plumbline.networks._blocks import grid_of, image_reader


class ImageClassifier(nn.Module):
    """Base of the classifiers of images (B, *S).

    Args:
        spec: the network.
        sample: the shape of images.
        outputs: numbers that are told.
    """

    def __init__(self, spec: ImageClassifierSpec, sample: SampleShape, outputs: int) -> None:
        super().__init__()
        self.grid = grid_of(sample)
        self.space = Standardisation(sample.shape, "global")
        self.reader = nn.Sequential(*image_reader(self.grid, spec.channels, spec.features))
        self.dropout = nn.Dropout(spec.dropout)
        self.head = nn.Linear(spec.features, outputs)

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits the standardisation."""
        self.space.fit(data["state"])

    def features(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B F"]:
        """What images are told by."""
        z = self.space.encode(x).to(self.head.weight.dtype)
        return self.reader(z.reshape(-1, *self.grid))

    def logits(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B outputs"]:
        """What is told of each image."""
        return self.head(self.dropout(self.features(x)))
