"""Studies: the keys of a study file and their validation. `plumbline.plan` derives the jobs of a study."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import NoneType
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from plumbline._capabilities import is_provided, listed, phrase
from plumbline.constraints import AnyConstraint
from plumbline.datasets import AnyDataset
from plumbline.machine import ResourcesSpec
from plumbline.method import MethodSpec, SampleCounts
from plumbline.metrics import AnyMetric
from plumbline.models import AnyModel, FittedModelSpec, ModelSpec
from plumbline.observations import AnyObservation
from plumbline.samplers import DenoisingSpec, ImposingSpec, Predictive, WrappingSpec
from plumbline.samplers.from_file import FromFileSpec
from plumbline.spec import LARGEST_SEED, Spec, did_you_mean, forget_plugins, key, load_plugin
from plumbline.study_file import SCALES, Scale, StudyError, at_scale, described, read_study_file
from plumbline.tuning import TuningSpec, Values, candidates, shown
from plumbline.user_code import beside

REAL = "real"
"""Name under which held-out real data is evaluated like a method. No method may have this name."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=80)]
"""A name that becomes part of file names, which have at most 255 characters."""


class Study(Spec):
    """One comparison: a dataset, constraints, models, methods, metrics and seeds."""

    name: Name
    """Name of the study, which is also the name of its folder of results."""
    title: str
    """Title in the report."""
    description: str
    """A paragraph for the report: what is compared, on which data and why."""
    # pydantic reads fields in this order: plug-ins come before the keys that may use their kinds.
    plugins: tuple[Annotated[str, AfterValidator(load_plugin)], ...] = ()
    """Python files with your own kinds, such as `constraints.py`, relative to the study's folder."""
    dataset: AnyDataset
    """The dataset."""
    constraints: dict[Name, AnyConstraint]
    """Constraints by name; empty if the models contain their own."""
    models: dict[Name, AnyModel] = Field(min_length=1)
    """Models by name."""
    methods: dict[Name, MethodSpec] = Field(min_length=1)
    """Methods by name."""
    observation: AnyObservation | None = None
    """Measurements of each test sample, for samplers that draw from its posterior; null for none."""
    metrics: dict[Name, AnyMetric] = Field(min_length=1)
    """Metrics by name."""
    samples: SampleCounts
    """Number of samples that each method draws."""
    memory: float = key("GB", gt=0, default=2.0)
    """Largest size of the train split that a job holds in memory. A training reads a larger one from disk
    while it runs, in another order, and two thirds of this memory then hold samples. An evaluation reads it
    block by block."""
    tuning: TuningSpec | None = None
    """How methods with a `sweep` are tuned; null if there are none."""
    seeds: tuple[Annotated[int, Field(ge=0, le=LARGEST_SEED)], ...] = Field(min_length=1)
    """Seeds, from 0 to 4294967295. Every model is trained, and every method sampled, once per seed."""

    @model_validator(mode="before")
    @classmethod
    def _only_its_own_plugins(cls, values: Any) -> Any:
        """Deactivates the plug-ins of other studies. Reading `plugins` activates those of this study."""
        forget_plugins()
        return values

    @model_validator(mode="after")
    def _references(self) -> Study:
        problems = list(self._problems())
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _problems(self) -> Iterator[str]:
        """One sentence per reference or combination that cannot work, with the path of its key."""
        if len(set(self.seeds)) != len(self.seeds):
            yield f"seeds: {list(self.seeds)} names a seed twice"
        smallest = min(self.dataset.splits.test, self.dataset.splits.validation)
        if self.samples.cases > smallest:
            yield (
                f"samples.count: {self.samples.count} samples, {self.samples.samples_per_case} per test "
                f"sample, require {self.samples.cases} test samples, and the smaller of the test and "
                f"validation splits has {smallest}; lower it, or raise dataset.splits"
            )
        for name, model in self.models.items():
            if model.initialise is not None and model.initialise not in self.models:
                yield f"models.{name}.initialise: {_undefined(model.initialise, self.models, 'model')}"
            if (
                not model.training.steps
                and model.initialise is None
                and not isinstance(model, FittedModelSpec)
            ):
                yield (
                    f"models.{name}.training.steps: 0 steps would leave a `{model.kind}` untrained: "
                    f"raise it, or name a model to start from as `initialise`"
                )
            yield from self._dependency_problems(f"models.{name}", model.kind, model.depends_on())
            for wanted in model.constraint_names():
                path = f"models.{name}.{model.constraint_key(wanted)}"
                if wanted not in self.constraints:
                    yield f"{path}: {_undefined(wanted, self.constraints, 'constraint')}"
                else:
                    yield from self._constraint_problems(path, model, wanted)
            splits = (model.dataset or self.dataset).splits
            if (model.training.samples or 0) > splits.train:
                yield (
                    f"models.{name}.training.samples: {model.training.samples} is more than the "
                    f"{splits.train} samples of the train split"
                )
        for name, constraint in self.constraints.items():
            yield from self._dependency_problems(
                f"constraints.{name}", constraint.kind, constraint.depends_on()
            )
        for name, metric in self.metrics.items():
            yield from self._dependency_problems(f"metrics.{name}", metric.kind, metric.depends_on())
        yield from self._cycles()
        for name, method in self.methods.items():
            path = f"methods.{name}"
            if name == REAL:
                yield f"{path}: the name {REAL!r} is reserved for held-out real data; choose another"
            yield from self._method_problems(path, method.alone())
            if method.at_checkpoints and not self.checkpoint_steps(name):
                yield f"{path}.at_checkpoints: requires one model with `training.checkpoints` above 0"
        yield from self._tuning_problems()

    def _method_problems(self, path: str, method: MethodSpec) -> Iterator[str]:
        needed, kind = method.sampler.requires_of_model(), method.sampler.kind
        if not method.models() and needed is not NoneType:
            yield f"{path}.model: `{kind}` draws from a model: name one of {', '.join(self.models)}"
        if method.models() and needed is NoneType:
            yield f"{path}.model: `{kind}` takes no model: leave the key out"
        if (
            isinstance(method.sampler, FromFileSpec)
            and "{seed}" not in method.sampler.path
            and len(self.seeds) > 1
        ):
            yield (
                f"{path}.samples: one file for {len(self.seeds)} seeds: write `{{seed}}` in place of the "
                f"seed in its name, or keep one seed"
            )
        for drawn in method.models():
            if drawn not in self.models:
                yield f"{path}.model: {_undefined(drawn, self.models, 'model')}"
            else:
                yield from self._model_problems(f"{path}.sampler", kind, drawn, needed)
        if len(method.models()) > 1 and needed is not Predictive:
            yield f"{path}.model: `{kind}` draws from one model, found {len(method.models())}"
        yield from self._sampler_problems(path, method)
        if self.observation is None and any(s.observes() for s in method.sampler.nested()):
            yield f"{path}.sampler: `{kind}` requires an `observation`; the study has none"

    def _tuning_problems(self) -> Iterator[str]:
        """What is wrong with `tuning`, and with the candidates of each sweep beyond the method itself."""
        swept = {name: method for name, method in self.methods.items() if method.sweep}
        if self.tuning is None:
            for name in swept:
                yield (
                    f"methods.{name}.sweep: requires `tuning`, which says by which metric to choose, such as "
                    f"`tuning: {{metric: {next(iter(self.metrics))}, budget: 16}}`"
                )
            return
        if self.tuning.name() not in self.metrics:
            yield f"tuning.metric: {_undefined(self.tuning.name(), self.metrics, 'metric')}"
        counts, there = self.tuning_samples(), self.dataset.splits.validation
        if counts.count % counts.samples_per_case or counts.cases > there:
            yield (
                f"tuning.samples: must be a multiple of `samples.samples_per_case` "
                f"({counts.samples_per_case}), and at most that many times the {there} samples of the "
                f"validation split, found {counts.count}"
            )
        for name, method in swept.items():
            known = set(self._method_problems(f"methods.{name}", method.alone()))
            for values in self.candidates(name):
                for problem in self._candidate_problems(f"methods.{name}", method, values):
                    if problem not in known:
                        known.add(problem)
                        yield f"methods.{name}.sweep, with {shown(values)}: {problem}"

    def _candidate_problems(self, path: str, method: MethodSpec, values: Values) -> Iterator[str]:
        try:
            one = method.chosen(values)
        except ValueError as error:
            yield str(error)
            return
        if one.sampler.constraint_names() != method.sampler.constraint_names():
            yield "a sweep cannot change which constraints are imposed"
        yield from self._method_problems(path, one)

    def _dependency_problems(self, path: str, kind: str, depends_on: dict[str, type]) -> Iterator[str]:
        for below, needed in depends_on.items():
            if below not in self.models:
                yield f"{path}: {_undefined(below, self.models, 'model')}"
            else:
                yield from self._model_problems(path, kind, below, needed)

    def _model_problems(self, path: str, kind: str, name: str, required: type) -> Iterator[str]:
        model = self.models[name]
        if not is_provided(required, model.provides()):
            yield (
                f"{path}: `{kind}` requires {phrase(required)}; {name!r} (`{model.kind}`) provides "
                f"{listed(model.provides())}"
            )

    def _constraint_problems(self, path: str, spec: ModelSpec | ImposingSpec, name: str) -> Iterator[str]:
        constraint = self.constraints[name]
        missing = [one for one in spec.requires() if not is_provided(one, constraint.provides())]
        if missing:
            yield (
                f"{path}: `{spec.kind}` requires {' and '.join(phrase(one) for one in missing)}; {name!r} "
                f"(`{constraint.kind}`) provides {listed(constraint.provides())}"
            )

    def _sampler_problems(self, path: str, method: MethodSpec) -> Iterator[str]:
        level = f"{path}.sampler"
        differentiating = [s.kind for s in method.sampler.nested() if s.differentiates()]
        if len(differentiating) > 1:
            yield (
                f"{level}: {' and '.join(f'`{kind}`' for kind in differentiating)} both backpropagate "
                f"through the denoiser, which is possible only once; keep one of them"
            )
        enforced: tuple[str, str] | None = None
        denoising = False
        for sampler in method.sampler.nested():
            if isinstance(sampler, ImposingSpec):
                if enforced and enforced[1] != sampler.constraint:
                    yield (
                        f"{level}: `{enforced[0]}` projects finished samples onto {enforced[1]!r}, which can "
                        f"undo {sampler.constraint!r} of the `{sampler.kind}` within it: combine both in a "
                        f"constraint of kind `jointly`, or keep one of them"
                    )
                if sampler.enforces:
                    enforced = (sampler.kind, sampler.constraint)
            for name in sampler.constraint_names():
                if name not in self.constraints:
                    yield f"{level}.constraint: {_undefined(name, self.constraints, 'constraint')}"
            if isinstance(sampler, WrappingSpec):
                denoising = denoising or sampler.within_denoising
                if denoising and not isinstance(sampler.base, DenoisingSpec):
                    yield (
                        f"{level}.base: `{sampler.kind}` requires a base that draws by denoising; "
                        f"`{sampler.base.kind}` does not"
                    )
            if isinstance(sampler, ImposingSpec) and sampler.constraint in self.constraints:
                yield from self._constraint_problems(level, sampler, sampler.constraint)
            level += ".base"

    def _cycles(self) -> Iterator[str]:
        graph = {name: [p for p in self.depends_on(name) if p in self.models] for name in self.models}
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            cycle = error.args[1]
            yield f"models.{cycle[0]}: {' -> '.join(reversed(cycle))} is circular"

    # What is tuned.

    def candidates(self, method: str) -> list[Values]:
        """The candidates of a method's sweep; none if it has no sweep."""
        sweep = self.methods[method].sweep
        if not sweep or self.tuning is None:
            return []
        return candidates(sweep, self.tuning.budget, self.seeds[0])

    def tuning_samples(self) -> SampleCounts:
        """The number of samples that each candidate draws."""
        count = self.tuning.samples if self.tuning else None
        return self.samples.model_copy(update={"count": count or self.samples.count, "parts": 1})

    # The models that a model or a constraint refers to.

    def depends_on(self, model: str) -> list[str]:
        """The models that a model depends on directly: those it is built with, and the one it starts from."""
        start = self.models[model].initialise
        return [*self.built_with(model), *([start] if start else [])]

    def built_with(self, model: str) -> list[str]:
        """The models that a model is built with: those that its spec names, and those of its constraints."""
        spec = self.models[model]
        return [*spec.depends_on(), *self.constraint_models(spec.constraint_names())]

    def constraint_models(self, constraints: Iterable[str]) -> list[str]:
        """The models that these constraints use."""
        known = [self.constraints[name] for name in constraints if name in self.constraints]
        return list(dict.fromkeys(model for constraint in known for model in constraint.depends_on()))

    def checkpoint_steps(self, method: str) -> tuple[int, ...]:
        """The training steps, besides the last, at which a method is evaluated; empty if there are none."""
        spec = self.methods[method]
        known = [self.models[name] for name in spec.models() if name in self.models]
        return known[0].training.checkpoint_steps() if spec.at_checkpoints and len(known) == 1 else ()


class Configuration(Spec):
    """config/config.yaml: the studies to run, their scale, and the folder of results."""

    studies: tuple[str, ...] = Field(min_length=1)
    """Names of the studies to run, of the folder `studies` beside the configuration or of the library; one
    name is enough. The name of a folder stands for all studies in it, and `folder/study` for one of them."""
    scale: Scale = "laptop"
    """Scale of every study, which selects the overrides of that name."""
    results: str = "results"
    """Folder of the results. It may not contain braces, which Snakemake reads as wildcards."""
    resources: ResourcesSpec = ResourcesSpec()
    """What the jobs ask for."""

    @field_validator("results")
    @classmethod
    def _a_folder(cls, results: str) -> str:
        if not results.strip():
            raise ValueError("must name a folder, found nothing")
        if set(results) & set("{}"):
            raise ValueError(f"must not have braces, which Snakemake reads as wildcards, found {results!r}")
        return results

    @field_validator("studies", mode="before")
    @classmethod
    def _one_name(cls, studies: Any) -> Any:
        return (studies,) if isinstance(studies, str) else studies

    @field_validator("studies")
    @classmethod
    def _each_study_once(cls, studies: tuple[str, ...]) -> tuple[str, ...]:
        twice = [name for i, name in enumerate(studies) if name in studies[:i]]
        if twice:
            raise ValueError(f"names {', '.join(dict.fromkeys(twice))} twice, found {list(studies)}")
        return studies


def load_configuration(values: dict[str, Any], source: str = "config/config.yaml") -> Configuration:
    """Validates the keys and values of the configuration, read from the file `source`.

    Raises:
        StudyError: a value is invalid; the message names each key at fault.
    """
    try:
        return Configuration.model_validate(values)
    except ValidationError as error:
        raise _refused(source, list(described(error.errors(), values))) from None


def load_study(path: str | Path, scale: Scale) -> Study:
    """Loads the study in a YAML file at a scale, and validates it at all scales.

    A study can extend another one (`extends`), from the same folder or from the library. Its own keys then
    override those of the other (see `merged`).

    Raises:
        StudyError: the file is missing or not YAML, or a key, type, value, reference or combination is wrong
            at any scale. The message lists every fault with the path of its key.
    """
    path = Path(path)
    values = read_study_file(path)
    studies: dict[Scale, Study] = {}
    faults: dict[str, list[Scale]] = {}
    for one in SCALES:
        scaled = at_scale(path, values, one)
        try:
            with beside(path):
                studies[one] = Study.model_validate(scaled)
        except ValidationError as error:
            for line in described(error.errors(), scaled):
                faults.setdefault(line, []).append(one)
        except RecursionError:
            raise StudyError(f"{path}: its mappings and lists are nested too deeply.") from None
    if faults:
        every = len(SCALES)
        lines = [
            line if len(scales) == every else f"at the scale {' and '.join(scales)}: {line}"
            for line, scales in faults.items()
        ]
        raise _refused(str(path), lines)
    return studies[scale]


def _refused(source: str, lines: list[str]) -> StudyError:
    listing = "\n".join(f"  - {line}" for line in lines)
    return StudyError(f"{source} cannot be used:\n{listing}")


def _undefined(name: str, defined: dict[str, Any], what: str) -> str:
    hint = did_you_mean(name, list(defined))
    return f"there is no {what} {name!r}{hint}; defined: {', '.join(defined) or 'none'}"
