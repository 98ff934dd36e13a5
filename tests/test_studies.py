"""Every study of the house at smoke scale, in one process: data, training, samples, metrics, comparison, page.

Studies of published files need them under `../shared/data`, and are skipped, with the reason, without. Those of CelebA's
faces and of ImageNet's classes run on small folders of the same format.
"""

from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plumbline.datasets._download import DataFileError
from plumbline.plan import CHECKPOINT, CHECKPOINTS, Plan
from plumbline.reporting.page import write_page
from plumbline.stages.compare import compare
from plumbline.stages.evaluate import evaluate
from plumbline.stages.generate import generate
from plumbline.stages.sample import sample
from plumbline.stages.train import train
from plumbline.storage.store import open_store
from plumbline.study import REAL, load_study

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
STUDIES = sorted(path.stem for path in (ROOT / "config" / "studies").glob("*.yaml"))
# The laws and samplers that are feasible by construction, as the names of methods begin.
FEASIBLE = (
    "projected", "mean_correction", "completed", "constrained_layer", "variance_weighted", "reparameterised",
    "marginal_expectation", "closed_form", "likelihood", "conditioned", "final_projection", "element_means",
    "constant", "null_space", "ensemble",
)  # fmt: skip


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_it_is_valid_at_every_scale(name, scale):
    assert load_study(ROOT / "config" / "studies" / f"{name}.yaml", scale).name == name


def write_image(path, generator):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(generator.integers(0, 256, (24, 20, 3), dtype=np.uint8)).save(path)


ATTRIBUTES = "Male Young Smiling Bald Black_Hair Blond_Hair Brown_Hair Eyeglasses No_Beard Wearing_Hat"


def write_faces(folder):
    """Images with a table of CelebA's attributes, of which every second has the first, two of three the third."""
    generator = np.random.default_rng(0)
    names = [f"{i + 1:06d}.jpg" for i in range(120)]
    for name in names:
        write_image(folder / "img_align_celeba" / name, generator)
    rest = " -1 1 -1 1 -1 1 -1"
    lines = [f"{name} {1 if i % 2 else -1} -1 {1 if i % 3 else -1}{rest}" for i, name in enumerate(names)]
    (folder / "list_attr_celeba.txt").write_text("\n".join(["120", ATTRIBUTES, *lines]))


def write_classes(folder):
    """A folder of images for each of ten classes."""
    generator = np.random.default_rng(0)
    for i in range(480):
        write_image(folder / "imagenet" / f"n{i % 10:08d}" / f"{i}.JPEG", generator)


WRITTEN = {
    "fair_celeba": write_faces,
    "constrained_vae_celeba": write_faces,
    "latent_celeba": write_faces,
    "adaptation_imagenet": write_classes,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_it_runs_at_smoke_scale(name, tmp_path, monkeypatch):
    if name in WRITTEN:
        WRITTEN[name](tmp_path / "data")
    elif DATA.is_dir():
        (tmp_path / "data").symlink_to(DATA)
    monkeypatch.chdir(tmp_path)
    study = load_study(ROOT / "config" / "studies" / f"{name}.yaml", "smoke")
    seed = study.seeds[0]
    undivided = study.samples.model_copy(update={"parts": 1})
    study = study.model_copy(update={"seeds": (seed,), "samples": undivided})
    plan = Plan(study, tmp_path / "results")
    parts = plan.dataset_parts()
    try:
        for part, path in enumerate(parts):
            generate(plan.generate_slice(), part=part, output=path)
    except DataFileError as error:
        pytest.skip(f"NOT RUN, no data: {error}")

    def folders(models):
        return [plan.model_folder(model, seed) for model in models]

    for model in in_order(study):
        parent = study.models[model].initialise
        train(
            plan.train_slice(model),
            seed=seed,
            dataset=parts,
            output=plan.model_folder(model, seed),
            models=folders(study.built_with(model)),
            initialise=plan.model_folder(parent, seed) if parent else None,
        )
    judged = (*study.methods, *plan.at_checkpoints())
    for g in judged:
        spec, step = plan.at_step(g)
        (output,) = plan.samples(g, seed)
        sample(
            plan.sample_slice(g),
            seed=seed,
            part=0,
            dataset=parts,
            model=[
                folder if step is None else folder / CHECKPOINTS / CHECKPOINT.format(step=step)
                for folder in folders(spec.models())
            ],
            output=output,
            constraint_models=folders(study.constraint_models(spec.sampler.constraint_names())),
        )
    for g in (REAL, *judged):
        evaluate(
            plan.evaluate_slice(),
            seed=seed,
            dataset=parts,
            samples=plan.samples(g, seed),
            output=plan.metrics(g, seed),
            models=folders(plan.measuring_models()),
        )
    compare(plan.compare_slice(), results=plan.results, output=plan.comparison())
    write_page([plan.comparison()], tmp_path / "report.html")
    assert f'<section id="{name}"' in (tmp_path / "report.html").read_text()
    told = open_store(plan.comparison()).load()
    for constraint, spec in study.constraints.items():
        if "project" in spec.provides() and spec.kind in ("sum", "linear_equality"):
            for g in study.methods:
                exact = g.removeprefix("ladder_").startswith(FEASIBLE)
                violation = float(told[f"relative_violation_{constraint}"].sel(methods=g).max())
                assert (violation <= 1e-6) or not exact, f"{g} violates {constraint} by {violation}"


def in_order(study):
    """Names of the models, parents before those that stand on them or start from them."""
    return TopologicalSorter({name: study.depends_on(name) for name in study.models}).static_order()
