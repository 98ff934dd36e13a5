"""Every bundled study at smoke scale, in one process: data, training, samples, metrics, comparison, page.

Studies of published files need these under `../shared/data` and are skipped otherwise, with the reason. The
studies of CelebA faces and of ImageNet classes run on small folders of the same format.
"""

from pathlib import Path

import pytest

from plumbline._capabilities import is_provided
from plumbline.constraints import ProjectableConstraint
from plumbline.datasets._download import DataFileError
from plumbline.in_process import run
from plumbline.plan import Plan
from plumbline.reporting.page import write_page
from plumbline.stages.generate import generate
from plumbline.stages.rehearse import rehearse
from plumbline.storage.store import open_store
from plumbline.study import StudyError, load_study

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "config" / "studies"
STUDIES = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml"))
# Studies with the same methods and metrics on other problems. A few of them run as a whole, the others are
# rehearsed, which takes a fifth of the time.
ALIKE = [
    name
    for name in STUDIES
    if name.startswith(("exact_conditionals/", "kernel_graphs_ahead/"))
    and Path(name).name
    not in ("ellipse_mixture", "truncated_gaussian", "dirichlet", "heat_field_2d", "sparse_3")
]
# Prefixes of the methods that are feasible by construction, by their distribution or sampler.
FEASIBLE = (
    "projected", "mean_correction", "completed", "constrained_layer", "variance_weighted", "reparameterised",
    "marginal_expectation", "closed_form", "likelihood", "conditioned", "final_projection", "element_means",
    "constant", "null_space", "ensemble",
)  # fmt: skip


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_it_is_valid_at_every_scale(name, scale):
    assert load_study(FOLDER / f"{name}.yaml", scale).name == Path(name).name


def test_no_two_have_the_same_name():
    names = [Path(name).name for name in STUDIES]
    assert sorted(names) == sorted(set(names))


@pytest.mark.slow
@pytest.mark.parametrize("name", ALIKE)
def test_it_is_rehearsed(name, tmp_path):
    """Its models are trained for a step, its methods draw and its metrics evaluate a few samples."""
    study = load_study(FOLDER / f"{name}.yaml", "smoke")
    plan = Plan(study, tmp_path)
    for part, path in enumerate(plan.dataset_parts()):
        generate(plan.generate_slice(), part=part, output=path)
    rehearse([study.canonical()], dataset=plan.dataset_parts(), scale="smoke", output=plan.rehearsal())
    assert plan.rehearsal().is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in STUDIES if name not in ALIKE])
def test_it_runs_at_smoke_scale(name, tmp_path, data_of_study):
    data_of_study(name)
    study = load_study(FOLDER / f"{name}.yaml", "smoke")
    seed = study.seeds[0]
    undivided = study.samples.model_copy(update={"parts": 1})
    # Each part is a store, and stages read all of them: 32 parts of a few samples take a minute.
    dataset = study.dataset.model_copy(update={"parts": min(study.dataset.parts, 2)})
    study = study.model_copy(update={"seeds": (seed,), "samples": undivided, "dataset": dataset})
    plan = Plan(study, tmp_path / "results")
    try:
        run(study, results=plan.results)
    except (DataFileError, StudyError) as error:
        if isinstance(error, StudyError) and "there is nothing at" not in str(error):
            raise
        pytest.skip(f"NOT RUN, no data: {error}")
    write_page([plan.comparison()], tmp_path / "report.html")
    assert f'<section id="{study.name}"' in (tmp_path / "report.html").read_text()
    comparison = open_store(plan.comparison()).load()
    for constraint, spec in study.constraints.items():
        if is_provided(ProjectableConstraint, spec.provides()) and spec.kind in ("sum", "linear_equality"):
            for g in study.methods:
                exact = g.removeprefix("ladder_").startswith(FEASIBLE)
                violation = float(comparison[f"relative_violation_{constraint}"].sel(methods=g).max())
                assert (violation <= 1e-6) or not exact, f"{g} violates {constraint} by {violation}"
