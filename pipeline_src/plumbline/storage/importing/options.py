"""What a user says about a file that does not say it itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

FLAGS = {
    "variables": "--variable",
    "dims": "--dims",
    "conditions": "--condition",
    "coordinates": "--coordinate",
    "edges": "--edges",
    "faces": "--faces",
    "periods": "--period",
    "attributes": "--attribute",
}
"""The flag of each option."""


@dataclass(frozen=True)
class ImportOptions:
    """Options of `plumbline import`.

    Attributes:
        variables: names in the file of what becomes the state.
        dims: dimensions of an array, in the order of the file, by its name; those under `""` are of the variables.
        conditions: names in the file of what becomes the condition.
        coordinates: names in the file of coordinates, by dimension; an empty name leaves a coordinate out.
        edges: dimensions whose coordinates are the edges of cells.
        faces: what to do with fields on the faces of cells, which have one value more than there are cells: their `mean`, or the
            `first` of the two of each cell.
        periods: periods, by dimension.
        attributes: numbers that constraints read, such as `viscosity`.
    """

    variables: tuple[str, ...] = ()
    dims: dict[str, tuple[str, ...]] = field(default_factory=dict)
    conditions: tuple[str, ...] = ()
    coordinates: dict[str, str] = field(default_factory=dict)
    edges: tuple[str, ...] = ()
    faces: Literal["mean", "first"] | None = None
    periods: dict[str, float] = field(default_factory=dict)
    attributes: dict[str, float] = field(default_factory=dict)

    def refuse_others(self, allowed: tuple[str, ...], path: str, what: str) -> None:
        """Refuses the options that were given and have no meaning for a file.

        Raises:
            ValueError: one was given that is not among the allowed ones.
        """
        for name, flag in FLAGS.items():
            if getattr(self, name) and name not in allowed:
                raise ValueError(f"`{flag}` has no meaning for {path}, which is {what}: leave it out.")


def from_text(
    *,
    variables: Sequence[str],
    dims: Sequence[str],
    conditions: Sequence[str],
    coordinates: Sequence[str],
    edges: Sequence[str],
    faces: Literal["mean", "first"] | None,
    periods: Sequence[str],
    attributes: Sequence[str],
) -> ImportOptions:
    """The options as they stand on a command line, each a list of what was said.

    Raises:
        ValueError: one is not of its form.
    """
    named_dims: dict[str, tuple[str, ...]] = {}
    for text in dims:
        name, _, listed = text.rpartition("=")
        if name in named_dims:
            raise ValueError(f"`--dims {text}`: the dimensions {f'of {name} ' * bool(name)}are named twice.")
        named_dims[name] = _listed("--dims", [listed])
    return ImportOptions(
        variables=_listed("--variable", variables),
        dims=named_dims,
        conditions=_listed("--condition", conditions),
        coordinates=_pairs("--coordinate", coordinates, "x=name"),
        edges=_listed("--edges", edges),
        faces=faces,
        periods=_numbers("--period", periods, "x=1.0"),
        attributes=_numbers("--attribute", attributes, "viscosity=0.01"),
    )


def _listed(option: str, texts: Sequence[str]) -> tuple[str, ...]:
    names = [name.strip() for text in texts for name in text.split(",")]
    if not all(names):
        raise ValueError(f"`{option} {','.join(texts)}`: expected names with commas between them.")
    twice = {name for name in names if names.count(name) > 1 and option != "--dims"}
    if twice:
        raise ValueError(f"`{option}` names {', '.join(sorted(twice))} twice.")
    return tuple(names)


def _pairs(option: str, texts: Sequence[str], example: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise ValueError(f"`{option} {text}`: expected a name and a value, as in `{option} {example}`.")
        if name in pairs:
            raise ValueError(f"`{option} {text}`: {name} is named twice.")
        pairs[name] = value
    return pairs


def _numbers(option: str, texts: Sequence[str], example: str) -> dict[str, float]:
    numbers = {}
    for name, value in _pairs(option, texts, example).items():
        try:
            numbers[name] = float(value)
        except ValueError as error:
            raise ValueError(
                f"`{option} {name}={value}`: expected a number, as in `{option} {example}`."
            ) from error
        if not math.isfinite(numbers[name]) or (option == "--period" and numbers[name] <= 0):
            raise ValueError(
                f"`{option} {name}={value}`: expected a finite number{' over zero' * (option == '--period')}."
            )
    return numbers
