"""Estimation: what each job of a study computes, how much memory it takes and how much it writes.

Nothing is trained. A few samples of the dataset are drawn; their shapes, and the numbers of the study, give
fake tensors of the full size, which have no values. The training loop takes a few steps on them, each sampler
draws a few short samplings, and a counter sees every operation (`_meter.py`). What needs values, such as the
Newton steps of a projection, is counted on two and on four real samples and extrapolated.

`plumbline.resources` turns an estimate into seconds and into the resources that the rules ask for.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from graphlib import TopologicalSorter

from plumbline.estimates import JobEstimate, StudyEstimate, Work, job
from plumbline.estimation._counts import Count
from plumbline.estimation._data import FewSamples, MissingDataError, first_samples
from plumbline.estimation._models import Models
from plumbline.method import MethodSpec
from plumbline.plan import Plan
from plumbline.stages.rehearse import CASES, TRAINED_BYTES
from plumbline.study import REAL, Study

logger = logging.getLogger("plumbline.estimate")

COPIES = 3
"""Copies of the data that a job holds at most: as they are read, put together, and as tensors."""
COPIES_OF_A_BLOCK = 10
"""The same of a block, where data is written in blocks: they are checked, compressed and read ahead."""
SAVED_STATES = 4
"""Size of a saved state over that of the weights: weights, their average, and AdamW's two moments."""
MOST_CANDIDATES = 4
"""Largest number of kinds of candidates of a sweep that are counted, evenly chosen from all of them."""
PAIR_OPERATIONS = 40
"""Floating-point operations a pair of samples and metric, besides those a coordinate."""


def estimate_study(study: Study) -> StudyEstimate:
    """Estimates every job of a study.

    What fails for one job leaves a note at that job. Without the files of the dataset nothing is known, and
    the estimate states the problem.
    """
    try:
        few = first_samples(study.dataset)
    except MissingDataError as error:
        return StudyEstimate(problem=str(error))
    except Exception as error:
        return StudyEstimate(problem=f"no samples can be drawn: {_line(error)}")
    with _without_warnings():
        return _Estimation(study, few).run()


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silences torch on fake tensors: what cannot run on them is counted on real ones."""
    fake = logging.getLogger("torch._subclasses.fake_tensor")
    disabled, fake.disabled = fake.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        fake.disabled = disabled


class _Estimation:
    """The estimate of one study, given the first samples of its dataset."""

    def __init__(self, study: Study, few: FewSamples) -> None:
        self.study, self.few, self.plan = study, few, Plan(study)
        self.models = Models(self.plan, few.samples)
        self.jobs: dict[str, JobEstimate] = {}
        self.data = few.bytes * study.dataset.splits.total
        self.weights: dict[str, float] = {}
        self.rehearsed = 0.0
        self.longest: dict[str, MethodSpec] = {}

    def run(self) -> StudyEstimate:
        """All jobs, in the order of the rules."""
        study = self.study
        part = self.data / study.dataset.parts
        self.jobs["generate"] = JobEstimate(Work(seconds=self.few.seconds), self._blocks(part), part)
        self.jobs["rehearse"] = JobEstimate()
        order = TopologicalSorter({name: study.depends_on(name) for name in study.models})
        for name in order.static_order():
            self.jobs[job("train", name)] = self._try(self._training, name)
        for name in self.plan.swept():
            self.jobs[job("tune", name)] = self._try(self._tuning, name)
        judged = [*study.methods, *self.plan.at_checkpoints()]
        for name in judged:
            self.jobs[job("sample", name)] = self._try(self._sampling, name)
        for name in (REAL, *judged):
            self.jobs[job("evaluate", name)] = self._evaluation(study.samples.cases, len(study.metrics))
        self.jobs["rehearse"] = self._rehearsal()
        self.jobs["compare"] = JobEstimate(memory=self._samples_bytes() * len(judged) + self.data)
        return StudyEstimate(self.jobs)

    def _try(self, estimate: Callable[[str], JobEstimate], name: str) -> JobEstimate:
        try:
            return estimate(name)
        except Exception as error:
            logger.debug("%s", name, exc_info=True)
            return JobEstimate(unknown=_line(error))

    def _training(self, name: str) -> JobEstimate:
        spec = self.study.models[name]
        training = spec.training
        count = self.models.training(name)
        self.weights[name] = count.size
        self.rehearsed = max(self.rehearsed, count.size + count.peak)
        steps = float(training.steps)
        if training.validate_every and steps:
            # A validation is a forward pass, about a third of a step, over the validation split.
            batches = -(-self.study.dataset.splits.validation // training.batch)
            steps += steps // training.validate_every * batches / 3
        below = sum(self.weights.get(other, 0.0) for other in self.plan.ancestors(name))
        return JobEstimate(
            work=count.prepare.plus(count.step.times(steps)),
            # A larger dataset is read from disk while the training runs.
            memory=min(COPIES * self.data, 1e9 * self.study.memory) + count.size + below + count.peak,
            disk=count.size * (1 + training.checkpoints + (SAVED_STATES if training.steps else 0)),
            parameters=count.parameters,
            steps=training.steps,
            flops_per_step=count.step.flops,
            note=_real(count.real),
        )

    def _sampling(self, judged: str) -> JobEstimate:
        method = self.plan.at_step(judged)[0].alone()
        first, last = self.study.samples.bounds(0)
        name, _ = self.plan.at_checkpoints().get(judged, (judged, 0))
        return self._drawing(self.longest.get(name, method), last - first)

    def _drawing(self, method: MethodSpec, count: int) -> JobEstimate:
        size = min(method.batch, count)
        one, real = self.models.sampling(method, size)
        whole = Count().combined(one, count / size)
        self.rehearsed = max(self.rehearsed, one.peak * min(1.0, CASES / size))
        members = sum(self.weights.get(name, 0.0) for name in method.models())
        return JobEstimate(
            # The number of operations does not depend on how full the last batch is.
            work=whole.work._replace(operations=one.work.operations * -(-count // size)),
            memory=members + one.peak + self._blocks(count * self.few.bytes),
            disk=count * self.few.bytes,
            network_evaluations=one.evaluations,
            note=_real(real),
        )

    def _tuning(self, name: str) -> JobEstimate:
        """All candidates of a method, each with the metric to choose by.

        Candidates that differ in real numbers cost the same and are counted once; of many others, a few are
        counted.
        """
        method, counts = self.study.methods[name], self.study.tuning_samples()
        every = [method.chosen(values) for values in self.study.candidates(name)]
        alike: dict[str, list[MethodSpec]] = {}
        for candidate in every:
            alike.setdefault(_without_sizes(candidate), []).append(candidate)
        counted = list(alike.values())[:: -(-len(alike) // MOST_CANDIDATES)]
        drawn = [self._drawing(group[0], counts.count) for group in counted]
        sizes = [len(group) for group in counted]
        # The choice is not known yet: samples are estimated for the candidate that takes longest.
        longest = max(range(len(drawn)), key=lambda i: drawn[i].work)
        self.longest[name] = counted[longest][0]
        judged = self._evaluation(counts.cases, 1)
        work = judged.work.times(len(every))
        for one, size in zip(drawn, sizes, strict=True):
            work = work.plus(one.work.times(len(every) * size / sum(sizes)))
        return JobEstimate(
            work=work,
            memory=max(one.memory for one in drawn) + judged.memory,
            disk=1e3 * len(every),
            network_evaluations=max(one.network_evaluations for one in drawn),
            note=f"counted on {sum(sizes)} of {len(every)} candidates" if sum(sizes) < len(every) else "",
        )

    def _evaluation(self, count: int, metrics: int) -> JobEstimate:
        """Metrics compare all pairs of samples at most, in all coordinates.

        Args:
            count: number of samples.
            metrics: number of metrics.
        """
        coordinates = self.few.samples["state"].isel(sample=0).size
        pairs = 3.0 * count**2 * metrics
        work = Work(
            operations=1000.0 * metrics,
            flops=2 * pairs * coordinates,
            bytes=8 * PAIR_OPERATIONS * pairs,
        )
        # A larger train split is read block by block.
        train = self.few.bytes * self.study.dataset.splits.train
        held = self.data - train + min(train, 1e9 * self.study.memory) + self._samples_bytes()
        memory = COPIES * held + 3 * 8 * 3.0 * count**2
        return JobEstimate(work, memory, disk=1e5)

    def _rehearsal(self) -> JobEstimate:
        """One step of each model, a short sampling of each method, and every metric on few samples."""
        study = self.study
        drawn = len(study.methods) + sum(len(study.candidates(name)) for name in study.methods)
        parts = len(study.models) + drawn + len(study.methods) * len(study.metrics) + len(study.constraints)
        memory = sum(self.weights.values()) + self.rehearsed + COPIES * min(self.data, TRAINED_BYTES)
        return JobEstimate(Work(operations=1000.0 * parts), memory, disk=1e3)

    def _blocks(self, whole: float) -> float:
        """Memory of a job that draws and writes data of this size block by block."""
        return min(COPIES * whole, COPIES_OF_A_BLOCK * self.study.dataset.block_bytes)

    def _samples_bytes(self) -> float:
        return self.study.samples.count * self.few.bytes


def _without_sizes(method: MethodSpec) -> str:
    """The method as text, without the sizes of its real numbers; zero may mean that something is left out."""

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {name: plain(one) for name, one in value.items()}
        if isinstance(value, list):
            return [plain(one) for one in value]
        return bool(value) if isinstance(value, float) else value

    return json.dumps(plain(method.model_dump(mode="json")), sort_keys=True)


def _real(real: bool) -> str:
    return "counted on a few real samples" if real else ""


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{text[:200] or 'no further reason given'} ({type(error).__name__})"
