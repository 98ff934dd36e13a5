"""How long samplers run: the keys that say so, of a sampler and of those that it wraps.

Short samplings stand for long ones in a rehearsal and in an estimate of their cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

from annotated_types import Ge

from plumbline.samplers import SamplerSpec

LENGTHS = (
    "steps", "levels", "proposals", "draws", "iterations", "trials", "repeats", "mixing", "final_steps",
    "relaxation_steps", "rejuvenation",
)  # fmt: skip
"""Keys that say how long a sampler runs."""

KeyPath = tuple[str, ...]
"""A key of a sampler, such as (`steps`,), or of one that it wraps, such as (`base`, `steps`)."""


class Length(NamedTuple):
    """The value of a key that says how long a sampler runs.

    Attributes:
        least: the smallest value that the key allows, or the own value if that is smaller.
        value: the own value.
    """

    least: int
    value: int


def lengths(sampler: SamplerSpec) -> dict[KeyPath, Length]:
    """The keys of a sampler and of those that it wraps that say how long it runs, outermost first."""
    found: dict[KeyPath, Length] = {}
    for key in LENGTHS:
        if isinstance(value := getattr(sampler, key, None), int):
            bounds = type(sampler).model_fields[key].metadata
            least = next((cast("int", one.ge) for one in bounds if isinstance(one, Ge)), 1)
            found[(key,)] = Length(min(least, value), value)
    base = getattr(sampler, "base", None)
    if isinstance(base, SamplerSpec):
        found |= {("base", *path): length for path, length in lengths(base).items()}
    return found


def with_lengths(sampler: SamplerSpec, values: Mapping[KeyPath, int]) -> SamplerSpec:
    """The sampler with other values of these keys."""
    changes: dict[str, int | SamplerSpec] = {path[0]: n for path, n in values.items() if len(path) == 1}
    below = {path[1:]: value for path, value in values.items() if len(path) > 1}
    if below:
        changes["base"] = with_lengths(cast("SamplerSpec", getattr(sampler, "base", None)), below)
    return sampler.model_copy(update=changes)


def shortened(sampler: SamplerSpec, most: int) -> SamplerSpec:
    """The sampler with each of these keys at most `most`, or at the smallest value that the key allows."""
    found = lengths(sampler).items()
    return with_lengths(sampler, {path: min(length.value, max(most, length.least)) for path, length in found})
