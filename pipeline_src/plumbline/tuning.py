"""Tuning: the values that a method's `sweep` tries, the choice among them, and the record of both.

Every method with a `sweep` is tuned in the same way: by the same metric, with the same largest number of
candidates and the same number of samples, on the validation split. The test split has no part in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Annotated, Any

from pydantic import BaseModel, JsonValue, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from plumbline.samplers import SamplerSpec
from plumbline.spec import Spec, did_you_mean, key, of_kind
from plumbline.study_file import described

Sweep = Mapping[str, tuple[JsonValue, ...]]
"""The values to try, by the path of a key, such as `sampler.base.steps`; by `sampler`, mappings of several
keys that are changed together, such as `{steps: 64, mixing: 2}`; by `model`, names of models."""
Values = dict[str, JsonValue]
"""One value for each key of a sweep."""

SAMPLER = "sampler"
"""The first name of the paths to the keys of a sampler."""
MODEL = "model"
"""The path by which a sweep tries several models."""


class TuningSpec(Spec):
    """How methods with a `sweep` are tuned: all by the same metric, with the same budget, on the validation
    split, with the models of the first seed."""

    metric: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*(\.[A-Za-z0-9_]+)?$")]
    """The metric to choose by: the name of one of the study's `metrics`, and after a dot that of a column, as
    `plumbline table --format csv` lists them, if the metric has several: `moment_errors.mean_mse`."""
    budget: int = key("candidates", ge=1, default=16)
    """Largest number of candidates of a method. Of a larger grid, so many are drawn at random, by the
    first seed."""
    samples: int | None = key("samples", ge=2, default=None)
    """Number of samples that each candidate draws for the validation split; null for `samples.count`."""

    def name(self) -> str:
        """The name of the metric in the study."""
        return self.metric.partition(".")[0]

    def column(self) -> str | None:
        """The column to choose by; None for the only one of the metric."""
        return self.metric.partition(".")[2] or None


class TuningError(ValueError):
    """A method cannot be tuned, or its record cannot be read."""


class Candidate(BaseModel):
    """A candidate that was tried.

    Attributes:
        values: its value of each key of the sweep.
        value: its metric; None if it failed.
        failure: why it has none; empty if it has one.
        network_evaluations: forward passes per sample; None if unknown, as the other costs.
        backward_passes: backward passes per sample.
        projection_solves: projections, or solves with the constraint, per sample.
        seconds: sampling time (s) of all its samples.
    """

    values: Values
    value: float | None
    failure: str = ""
    network_evaluations: float | None = None
    backward_passes: float | None = None
    projection_solves: float | None = None
    seconds: float = 0.0


class Tuning(BaseModel):
    """The record of a method's tuning.

    Attributes:
        metric: the column that the candidates were compared by, as `name.column`, or as one name for both.
        title: its name as text.
        units: its unit.
        better: `lower` or `higher`.
        split: the split that was drawn for and compared with.
        samples: number of samples of each candidate.
        seed: the seed of the models and of the random numbers.
        budget: the largest number of candidates.
        grid: the number of combinations in the sweep.
        candidates: the candidates, in the order of the grid.
        chosen: index of the best candidate, the first of several that are equal.
        provenance: how the record was made.
    """

    metric: str
    title: str
    units: str
    better: str
    split: str
    samples: int
    seed: int
    budget: int
    grid: int
    candidates: list[Candidate]
    chosen: int
    provenance: dict[str, JsonValue] = {}

    @property
    def best(self) -> Candidate:
        """The candidate that was chosen."""
        return self.candidates[self.chosen]


def read_tuning(path: Path) -> Tuning:
    """Reads the record of a method's tuning.

    Raises:
        TuningError: the file is missing or no such record.
    """
    try:
        return Tuning.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise TuningError(
            f"{path} cannot be read ({reason}). Delete it and run the workflow again: the method will be "
            "tuned again."
        ) from error


def grid_size(sweep: Sweep) -> int:
    """The number of combinations of a sweep; one if it is empty."""
    return math.prod(len(values) for values in sweep.values())


def candidates(sweep: Sweep, budget: int, seed: int) -> list[Values]:
    """The candidates of a sweep: its grid, or `budget` different points of it that are drawn at random.

    The last path in alphabetical order changes fastest. The order of keys in the file does not matter.

    Args:
        sweep: the values to try, by path.
        budget: largest number of candidates.
        seed: seed of the choice from a larger grid.
    """
    size = grid_size(sweep)
    chosen = range(size) if size <= budget else sorted(Random(seed).sample(range(size), budget))
    return [_point(sweep, index) for index in chosen]


def _point(sweep: Sweep, index: int) -> Values:
    values: Values = {}
    for path in sorted(sweep, reverse=True):
        index, place = divmod(index, len(sweep[path]))
        values[path] = sweep[path][place]
    return dict(sorted(values.items()))


def best_of(values: list[float | None], better: str) -> int:
    """The index of the best value, the first of several that are equal. Values of None are no candidates.

    Raises:
        TuningError: there is no value.
    """
    known = {i: value for i, value in enumerate(values) if value is not None}
    if not known:
        raise TuningError("no candidate has a value")
    sign = -1.0 if better == "higher" else 1.0
    return min(known, key=lambda i: (sign * known[i], i))


def with_values(sampler: SamplerSpec, values: Mapping[str, JsonValue]) -> SamplerSpec:
    """The sampler with other values of some keys.

    Args:
        sampler: the sampler.
        values: the values by path, such as `sampler.base.steps`. A whole sampler may be a value, and keys of
            it may follow. The value of `sampler` is a mapping of such paths without their first name. That of
            `model` is not the sampler's.

    Raises:
        ValueError: a path names no key of the sampler, or a value is not allowed.
    """
    whole = json.loads(sampler.canonical())
    for path, value in single(values).items():
        if path != MODEL:
            holder, name = _place(whole, path)
            holder[name] = value
    try:
        return of_kind(SamplerSpec, whole)
    except ValidationError as error:
        raise ValueError("; ".join(described(error.errors(), whole))) from None
    except PydanticCustomError as error:
        raise ValueError(error.message()) from None


def single(values: Mapping[str, JsonValue]) -> Values:
    """The values by the paths of single keys: those that `sampler` changes together are listed one by one.

    Raises:
        ValueError: the value of `sampler` is no mapping, or a key has two values.
    """
    together = values.get(SAMPLER, {})
    if not isinstance(together, dict):
        raise ValueError(
            f"{SAMPLER}: expected mappings of keys that are changed together, such as "
            f"`{{steps: 64, mixing: 2}}`, found {_plain(together)}"
        )
    listed = {f"{SAMPLER}.{path}": value for path, value in together.items()}
    others = {path: value for path, value in values.items() if path != SAMPLER}
    if twice := sorted(listed.keys() & others.keys()):
        raise ValueError(f"{twice[0]}: has a value of its own and another in `{SAMPLER}`")
    return listed | others


def require_keys(sampler: SamplerSpec, sweep: Sweep) -> None:
    """Checks that each path of a sweep is `model`, or names a key of the sampler.

    Raises:
        ValueError: a path names none; the message begins with the path.
    """
    whole = json.loads(sampler.canonical())
    others = [path for path in sweep if path not in (SAMPLER, MODEL)]
    for together in sweep.get(SAMPLER, ({},)):
        for path in single({SAMPLER: together} | dict.fromkeys(others)):
            _place(whole, path)


def _place(whole: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    """The mapping within a sampler's values that contains the key of a path, and the name of the key."""
    if not path.startswith(f"{SAMPLER}."):
        raise ValueError(_no_key_of_sampler(path))
    *above, last = path.removeprefix(f"{SAMPLER}.").split(".")
    inner: Any = whole
    for name in [*above, last]:
        known = sorted(inner) if isinstance(inner, dict) else []
        if name not in known:
            raise ValueError(
                f"{path}: there is no key {name!r}{did_you_mean(name, known)}; allowed: "
                f"{', '.join(known) or 'none, since the value above is no mapping'}"
            )
        holder, inner = inner, inner[name]
    return holder, last


def _no_key_of_sampler(path: str) -> str:
    if path.partition(".")[0] in ("model", "models"):
        return (
            f"{path}: a sweep cannot change keys of a model, since each of its values would be a model to "
            "train: write a model for each value, and name them in the sweep, such as `model: [small, large]`"
        )
    return f"{path}: expected the path of a key of the sampler, such as `sampler.steps`, or `model`"


def shown(values: Mapping[str, JsonValue]) -> str:
    """Values as text, such as `base.steps = 32, mixing = 5`."""
    keys = single(values).items()
    parts = [f"{path.removeprefix(f'{SAMPLER}.')} = {_plain(value)}" for path, value in keys]
    return ", ".join(parts)


def _plain(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value)
