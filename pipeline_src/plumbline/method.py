"""Methods: what a study compares, and how many samples each method draws."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, JsonValue, model_validator

from plumbline.samplers import AnySampler
from plumbline.samplers.from_file import FromFileSpec
from plumbline.spec import Spec, key
from plumbline.tuning import MODEL, require_keys, with_values


class MethodSpec(Spec):
    """A method: a model, or an ensemble of models, and a sampler.

    Instead of both, `samples: path` names a file with samples of another program (see the sampler
    `from_file`).
    """

    model: str | tuple[str, ...] = ()
    """Name of the model, one of the study's `models`. If several predictive models are named, samples are
    drawn from their mixture."""
    sampler: AnySampler
    """The sampler."""
    sweep: dict[str, Annotated[tuple[JsonValue, ...], Field(min_length=1)]] = Field(default={})
    """Values to try, by the path of a key of the sampler, such as `{sampler.base.steps: [32, 64]}`; by
    `sampler`, keys that are changed together, such as `{sampler: [{steps: 128, mixing: 1}, {steps: 64,
    mixing: 2}]}`; by `model`, names of models, all of which are trained. The study's `tuning` chooses the
    best combination on the validation split; samples are drawn with it."""
    batch: int = key("samples", ge=1, default=256)
    """Number of samples drawn together."""
    at_checkpoints: bool = False
    """Whether to evaluate the method also at each checkpoint of its model (`training.checkpoints`)."""

    @model_validator(mode="before")
    @classmethod
    def _samples_of_another_program(cls, values: Any) -> Any:
        """Reads `samples: path` as the sampler `from_file`."""
        if not isinstance(values, dict) or "samples" not in values:
            return values
        own = {name: value for name, value in values.items() if name != "samples"}
        if "sampler" in own or "model" in own:
            raise ValueError("give `samples`, or `model` and `sampler`, not both")
        return own | {"sampler": {"kind": "from_file", "path": values["samples"]}}

    @model_validator(mode="after")
    def _possible_sweep(self) -> MethodSpec:
        if self.sweep and isinstance(self.sampler, FromFileSpec):
            raise ValueError("sweep: samples of another program cannot be tuned here")
        for path, values in self.sweep.items():
            seen = [json.dumps(value, sort_keys=True) for value in values]
            if len(set(seen)) < len(seen):
                raise ValueError(f"sweep.{path}: names a value twice, found {list(values)}")
        try:
            require_keys(self.sampler, self.sweep)
        except ValueError as error:
            raise ValueError(f"sweep.{error}") from None
        if MODEL in self.sweep and self.model not in map(_names, self.sweep[MODEL]):
            raise ValueError(
                f"sweep.model: expected names of models, of which one is the method's `model`, "
                f"{json.dumps(self.model)}; found {json.dumps(list(self.sweep[MODEL]))}"
            )
        return self

    def models(self) -> tuple[str, ...]:
        """The names of the models; with a sweep over models, those of all candidates, its own first."""
        tried = (self.model, *map(_names, self.sweep.get(MODEL, ())))
        names = [name for one in tried for name in ((one,) if isinstance(one, str) else one)]
        return tuple(dict.fromkeys(names)) if MODEL in self.sweep else tuple(names)

    def alone(self) -> MethodSpec:
        """The method as it is written, without the sweep."""
        return self.model_copy(update={"sweep": {}})

    def chosen(self, values: Mapping[str, JsonValue]) -> MethodSpec:
        """The method with one value for each key of its sweep, and without the sweep.

        Raises:
            ValueError: the values are not allowed together.
        """
        model = _names(values[MODEL]) if MODEL in values else self.model
        return self.model_copy(
            update={"model": model, "sampler": with_values(self.sampler, values), "sweep": {}}
        )


def _names(value: JsonValue) -> str | tuple[str, ...]:
    """The value of a sweep over models: a name, or the names of an ensemble.

    Raises:
        ValueError: it is neither.
    """
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"sweep.model: expected names of models, found {json.dumps(value)}")
    found = tuple(str(name) for name in names)
    return found if isinstance(value, list) else found[0]


class SampleCounts(Spec):
    """The number of samples that each method draws per seed."""

    count: int = key("samples", ge=2)
    """Samples per method and seed; at most `samples_per_case` times the test or validation samples."""
    samples_per_case: int = key(ge=1, default=1)
    """Samples drawn for the same test sample, such as an ensemble of posterior samples. Metrics that compare
    sets of samples use the first sample of each case, so that real data has the same number."""
    parts: int = key(ge=1, default=1)
    """Number of parts, each drawn by one job."""

    @model_validator(mode="after")
    def _no_empty_part(self) -> SampleCounts:
        if self.parts > self.count:
            raise ValueError(f"`parts` must be at most `count`, found {self.parts} and {self.count}")
        if self.count % self.samples_per_case:
            raise ValueError(
                f"`count` must be a multiple of `samples_per_case`, found {self.count} and "
                f"{self.samples_per_case}"
            )
        return self

    @property
    def cases(self) -> int:
        """The number of test samples to draw for."""
        return self.count // self.samples_per_case

    def bounds(self, part: int) -> tuple[int, int]:
        """The index of the first sample of a part, and the index after its last sample."""
        size, longer = divmod(self.count, self.parts)
        first = part * size + min(part, longer)
        return first, first + size + (part < longer)
