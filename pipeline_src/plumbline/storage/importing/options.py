"""Options of `plumbline import`: information from the user that a file does not contain."""

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
"""The command-line flag of each option."""


@dataclass(frozen=True)
class ImportOptions:
    """Options of `plumbline import`.

    Attributes:
        variables: names of the arrays in the file that form the state.
        dims: dimensions of arrays, in the order of the file, by array name; the entry `""` applies to
            `variables`.
        conditions: names of the arrays in the file that form the condition.
        coordinates: names of the coordinate arrays in the file, by dimension; an empty name leaves a
            coordinate out.
        edges: dimensions whose coordinates are the edges of cells.
        faces: conversion of fields on the faces of cells, which have one value more than there are cells: the
            `mean` of the two faces of each cell, or the `first` of them.
        periods: periods of periodic dimensions, by dimension.
        attributes: values that constraints read, such as `viscosity`, by name.
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
        """Checks that only allowed options are set.

        Args:
            allowed: names of the allowed options.
            path: path of the file, for the error message.
            what: description of the file, for the error message.

        Raises:
            ValueError: another option is set.
        """
        for name, flag in FLAGS.items():
            if getattr(self, name) and name not in allowed:
                raise ValueError(f"`{flag}` does not apply to {path}, which is {what}: omit it.")


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
    """Parses the options of a command line.

    Args:
        variables: values of `--variable`, such as `u,v`.
        dims: values of `--dims`, such as `sample,time,x` or `u=sample,time,x`.
        conditions: values of `--condition`, such as `a`.
        coordinates: values of `--coordinate`, such as `x=name`.
        edges: values of `--edges`, such as `x`.
        faces: value of `--faces`.
        periods: values of `--period`, such as `x=1.0`.
        attributes: values of `--attribute`, such as `viscosity=0.01`.

    Raises:
        ValueError: a value does not have the expected form.
    """
    named_dims: dict[str, tuple[str, ...]] = {}
    for text in dims:
        name, _, listed = text.rpartition("=")
        if name in named_dims:
            raise ValueError(f"`--dims {text}`: the dimensions {f'of {name} ' * bool(name)}are given twice.")
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
        raise ValueError(f"`{option} {','.join(texts)}`: expected names separated by commas.")
    twice = {name for name in names if names.count(name) > 1 and option != "--dims"}
    if twice:
        raise ValueError(f"`{option}` lists {', '.join(sorted(twice))} twice.")
    return tuple(names)


def _pairs(option: str, texts: Sequence[str], example: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise ValueError(f"`{option} {text}`: expected a name and a value, as in `{option} {example}`.")
        if name in pairs:
            raise ValueError(f"`{option} {text}`: {name} is given twice.")
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
                f"`{option} {name}={value}`: expected a finite {'positive ' * (option == '--period')}number."
            )
    return numbers
