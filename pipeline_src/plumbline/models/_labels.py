"""What samples are to have: a class, listed attributes, attributes over their medians, or levels of the decoded sample's.

Each has

- `count`, the numbers in a label, which is zero where nothing is learned from labels;
- `fit(data)`, once, on the training data;
- `of(batch) -> (B, count)`, the labels of samples, ones and zeros;
- `changed(y)`, other labels than these, for samples that are to be changed;
- `told(y)`, the labels as whole numbers (B,) by name, for whoever judges samples;

labels have

- `combinations`, how many different ones there are, and `all() -> (combinations, count)`, each of them;

and levels, where critics have no labels to judge by, `shortfall(x) -> (B,)`, by how much decoded samples miss them,
differentiable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.attributes import Attribute
from plumbline.datasets._labels import class_labels, listed_attributes

WANTED = "wanted"
"""Variable of samples that tells the class that was asked for; with `_` and a name, whether an attribute was."""


class Classes(nn.Module):
    """One of several classes, as ones and zeros."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.count = self.combinations = classes

    def fit(self, data: dict[str, Tensor]) -> None:
        """Checks the labels of the training data.

        Raises:
            ValueError: there are none, or one is none of the classes.
        """
        class_labels(data, self.count, "wanted.classes")

    def of(self, batch: dict[str, Tensor]) -> Float[Tensor, "B C"]:
        """The labels of samples."""
        label = batch["label"].long()
        if bool(((label < 0) | (label >= self.count)).any()):  # of the test split, which was not fitted to
            class_labels({"label": label.cpu()}, self.count, "wanted.classes")
        return nn.functional.one_hot(label, self.count).float()

    def all(self) -> Float[Tensor, "K C"]:
        """Each class."""
        return torch.eye(self.count)

    def changed(self, y: Float[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        """The next class."""
        return y.roll(1, dims=1)

    def told(self, y: Float[Tensor, "B C"]) -> dict[str, Tensor]:
        """The class."""
        return {WANTED: y.argmax(1)}


class Several(nn.Module):
    """Base of the labels that are ones and zeros for each of several attributes.

    Args:
        names: of the attributes.
    """

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.count = len(self.names)
        self.combinations = 2**self.count

    def all(self) -> Float[Tensor, "K C"]:
        """Each combination of the attributes."""
        return torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * self.count).reshape(-1, self.count)

    def changed(self, y: Float[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        """The first attribute the other way, and the others as they are."""
        return torch.cat([1 - y[:, :1], y[:, 1:]], dim=1)

    def told(self, y: Float[Tensor, "B C"]) -> dict[str, Tensor]:
        """Whether each attribute is wanted."""
        return {f"{WANTED}_{name}": one.long() for name, one in zip(self.names, y.unbind(1), strict=True)}


class Listed(Several):
    """The attributes that the dataset lists of each sample."""

    def fit(self, data: dict[str, Tensor]) -> None:
        """Checks the attributes of the training data.

        Raises:
            ValueError: there are none, or they are no ones and zeros.
        """
        listed_attributes(data, "wanted")

    def of(self, batch: dict[str, Tensor]) -> Float[Tensor, "B C"]:
        """The labels of samples."""
        return batch["attributes"].float()


class Measured(Several):
    """Whether each of some attributes is over its median in the training data.

    Attributes:
        medians: (C,).
    """

    medians: Tensor

    def __init__(self, attributes: Mapping[str, Attribute]) -> None:
        super().__init__(attributes)
        self.attributes = dict(attributes)
        self.register_buffer("medians", torch.zeros(self.count))

    @torch.no_grad()
    def fit(self, data: dict[str, Tensor]) -> None:
        """Measures the medians."""
        self.medians.copy_(_measured(self.attributes, data["state"]).median(0).values)

    def of(self, batch: dict[str, Tensor]) -> Float[Tensor, "B C"]:
        """The labels of samples."""
        return (_measured(self.attributes, batch["state"]) > self.medians).float()


class Levels(nn.Module):
    """Levels that attributes of the decoded sample are to reach.

    Attributes:
        means, deviations: of the attributes over the training data (m,).
        levels: the least values (m,), in deviations from the means.
    """

    means: Tensor
    stds: Tensor
    levels: Tensor
    count = 0

    def __init__(self, attributes: Mapping[str, Attribute], levels: Sequence[float]) -> None:
        super().__init__()
        self.attributes = dict(attributes)
        self.register_buffer("means", torch.zeros(len(levels)))
        self.register_buffer("stds", torch.ones(len(levels)))
        self.register_buffer("levels", torch.tensor(list(levels)))

    @torch.no_grad()
    def fit(self, data: dict[str, Tensor]) -> None:
        """Measures means and deviations.

        Raises:
            ValueError: an attribute is the same for all samples.
        """
        stds, means = torch.std_mean(_measured(self.attributes, data["state"]), dim=0)
        for name, std in zip(self.attributes, stds, strict=True):
            if not float(std) > 0:
                raise ValueError(f"`wanted.levels.{name}`: the same for all training samples.")
        self.means.copy_(means)
        self.stds.copy_(stds)

    def of(self, batch: dict[str, Tensor]) -> Float[Tensor, "B 0"]:
        """No labels."""
        return self.means.new_zeros(len(batch["state"]), 0)

    def changed(self, y: Float[Tensor, "B 0"]) -> Float[Tensor, "B 0"]:
        """What is wanted is the same for all samples."""
        return y

    def told(self, y: Float[Tensor, "B 0"]) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def values(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B m"]:
        """The attributes, in deviations from their means over the training data."""
        return (_measured(self.attributes, x) - self.means) / self.stds

    def violation(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, " B"]:
        """The sum of what is missing of each level."""
        return (self.levels - self.values(x)).clamp(min=0).sum(1)


def _measured(attributes: Mapping[str, Attribute], x: Tensor) -> Float[Tensor, "B m"]:
    return torch.stack([attribute.value(x) for attribute in attributes.values()], dim=1)
