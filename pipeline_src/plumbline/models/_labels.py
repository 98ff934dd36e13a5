"""Labels of samples: a class, listed attributes, attributes above their medians, or levels of attributes.

Each kind has

- `count`, the number of entries in a label; zero for levels, from which nothing is learned;
- `fit_blocks(blocks)`, called once with the training data in blocks;
- `of(batch) -> (B, count)`, the labels of samples as ones and zeros;
- `changed(y)`, different labels, for samples that are to be edited;
- `by_name(y)`, the labels as integers (B,) by name, for the metrics that evaluate samples.

Classes and attributes also have

- `combinations`, the number of different labels, and `all() -> (combinations, count)`, each of them.

Levels have instead

- `violation(x) -> (B,)`, by how much decoded samples fall short of the levels, differentiable; it takes the
  place of the attribute critic, which needs labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.attributes import Attribute
from plumbline.datasets._labels import class_labels, listed_attributes
from plumbline.linalg.checks import require
from plumbline.models._preparing import SampleBlock, variable

WANTED = "wanted"
"""Variable that holds the requested class; with `_` and a name, whether that attribute was requested."""


class Classes(nn.Module):
    """One of several classes, one-hot encoded.

    Args:
        classes: number of classes.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.count = self.combinations = classes

    def fit_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Checks the labels of the training data.

        Raises:
            ValueError: there are none, or one is not among the classes.
        """
        class_labels(variable(blocks, "label"), self.count, "wanted.classes")

    def of(self, batch: SampleBlock) -> Float[Tensor, "B C"]:
        """The labels of samples."""
        label = batch["label"].long()

        def unknown() -> ValueError:
            class_labels({"label": label}, self.count, "wanted.classes")
            raise AssertionError("a label is not among the classes")

        # `fit_blocks` has not seen the test split.
        within = ((label >= 0) & (label < self.count)).all()
        require(within, unknown, f"labels are whole numbers from 0 to {self.count - 1}")
        return nn.functional.one_hot(label, self.count).float()

    def all(self) -> Float[Tensor, "K C"]:
        """The label of each class."""
        return torch.eye(self.count)

    def changed(self, y: Float[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        """The next class."""
        return y.roll(1, dims=1)

    def by_name(self, y: Float[Tensor, "B C"]) -> dict[str, Tensor]:
        """The class."""
        return {WANTED: y.argmax(1)}


class Several(nn.Module):
    """Base of the binary labels of several attributes.

    Args:
        names: names of the attributes.
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
        """The first attribute flipped, the others unchanged."""
        return torch.cat([1 - y[:, :1], y[:, 1:]], dim=1)

    def by_name(self, y: Float[Tensor, "B C"]) -> dict[str, Tensor]:
        """Whether each attribute is requested, as 0 or 1."""
        return {f"{WANTED}_{name}": one.long() for name, one in zip(self.names, y.unbind(1), strict=True)}


class Listed(Several):
    """The attributes that the dataset lists for each sample."""

    def fit_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Checks the attributes of the training data.

        Raises:
            ValueError: there are none, or they are not ones and zeros.
        """
        listed_attributes(variable(blocks, "attributes"), "wanted")

    def of(self, batch: SampleBlock) -> Float[Tensor, "B C"]:
        """The labels of samples."""
        return batch["attributes"].float()


class Measured(Several):
    """Whether each of several attributes exceeds its median over the training data.

    Args:
        attributes: the attributes by name.

    Attributes:
        medians: the medians of the attributes over the training data (C,).
    """

    medians: Tensor

    def __init__(self, attributes: Mapping[str, Attribute]) -> None:
        super().__init__(attributes)
        self.attributes = dict(attributes)
        self.register_buffer("medians", torch.zeros(self.count))

    @torch.no_grad()
    def fit_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Measures the medians."""
        self.medians.copy_(_measured_in_blocks(self.attributes, blocks).median(0).values)

    def of(self, batch: SampleBlock) -> Float[Tensor, "B C"]:
        """The labels of samples."""
        return (_measured(self.attributes, batch["state"]) > self.medians).float()


class Levels(nn.Module):
    """Levels that attributes of the decoded sample should reach.

    Args:
        attributes: the m attributes by name.
        levels: the minimum values, in standard deviations from the means.

    Attributes:
        means, stds: means and standard deviations of the attributes over the training data (m,).
        levels: the minimum values (m,), in standard deviations from the means.
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
    def fit_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Measures means and standard deviations.

        Raises:
            ValueError: an attribute has the same value for all samples.
        """
        stds, means = torch.std_mean(_measured_in_blocks(self.attributes, blocks), dim=0)
        for name, std in zip(self.attributes, stds, strict=True):
            if not float(std) > 0:
                raise ValueError(
                    f"`wanted.levels.{name}`: the attribute has the same value for all training samples."
                )
        self.means.copy_(means)
        self.stds.copy_(stds)

    def of(self, batch: SampleBlock) -> Float[Tensor, "B 0"]:
        """No labels."""
        return self.means.new_zeros(len(batch["state"]), 0)

    def changed(self, y: Float[Tensor, "B 0"]) -> Float[Tensor, "B 0"]:
        """The input: the same levels are requested for all samples."""
        return y

    def by_name(self, y: Float[Tensor, "B 0"]) -> dict[str, Tensor]:
        """An empty dict: there are no labels."""
        return {}

    def values(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B m"]:
        """The attributes, in standard deviations from their means over the training data."""
        return (_measured(self.attributes, x) - self.means) / self.stds

    def violation(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, " B"]:
        """By how much samples fall short of the levels, summed over attributes, in standard deviations."""
        return (self.levels - self.values(x)).clamp(min=0).sum(1)


Labels = Classes | Listed | Measured
"""Labels that samples may have."""
Wanted = Classes | Listed | Measured | Levels
"""What may be requested of samples: labels or levels."""


def _measured_in_blocks(
    attributes: Mapping[str, Attribute], blocks: Iterable[SampleBlock]
) -> Float[Tensor, "N m"]:
    return torch.cat([_measured(attributes, block["state"]) for block in blocks])


def _measured(attributes: Mapping[str, Attribute], x: Tensor) -> Float[Tensor, "B m"]:
    return torch.stack([attribute.value(x) for attribute in attributes.values()], dim=1)
