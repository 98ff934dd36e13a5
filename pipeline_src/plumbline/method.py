"""Methods: what a study compares, and how many samples each method draws."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, JsonValue, model_validator

from plumbline.samplers import AnySampler
from plumbline.samplers.from_file import FromFileSpec
from plumbline.spec import Spec, key
from plumbline.tuning import require_keys, with_values


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
    """Values to try, by the path of a key of the sampler, such as `{sampler.base.steps: [32, 64]}`. The
    study's `tuning` chooses the best combination on the validation split; samples are drawn with it."""
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
        return self

    def models(self) -> tuple[str, ...]:
        """The names of the models."""
        return (self.model,) if isinstance(self.model, str) else self.model

    def chosen(self, values: Mapping[str, JsonValue]) -> MethodSpec:
        """The method with one value for each key of its sweep, and without the sweep.

        Raises:
            ValueError: the values are not allowed together.
        """
        return self.model_copy(update={"sampler": with_values(self.sampler, values), "sweep": {}})


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
