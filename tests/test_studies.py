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
from plumbline.reporting.page import write_page
from plumbline.stages.compare import compare
from plumbline.stages.evaluate import evaluate
from plumbline.stages.generate import generate
from plumbline.stages.sample import sample
from plumbline.stages.train import train
from plumbline.store import open_store
from plumbline.study import REAL, load_study

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
STUDIES = sorted(path.stem for path in (ROOT / "config" / "studies").glob("*.yaml"))
# The laws and samplers that are feasible by construction, as the names of generators begin.
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
    parts = [tmp_path / f"part-{part:04d}.zarr" for part in range(study.dataset.parts)]
    try:
        for part, path in enumerate(parts):
            generate(study.generate_slice(), part=part, output=path)
    except DataFileError as error:
        pytest.skip(f"NOT RUN, no data: {error}")
    models = {}
    for model in in_order(study):
        models[model] = tmp_path / "models" / model
        parent = study.models[model].initialise
        started_from = models[parent] if parent else None
        below = [models[name] for name in study.built_with(model)]
        train(
            study.train_slice(model),
            seed=seed,
            dataset=parts,
            output=models[model],
            models=below,
            initialise=started_from,
        )
    samples, metrics = {}, {REAL: tmp_path / "metrics" / "real.zarr"}
    for g in (*study.generators, *study.at_checkpoints()):
        spec, step = study.at_step(g)
        folders = [
            models[m] if step is None else models[m] / "checkpoints" / f"step{step}" for m in spec.models()
        ]
        samples[g], metrics[g] = tmp_path / "samples" / f"{g}.zarr", tmp_path / "metrics" / f"{g}.zarr"
        cut = study.model_copy(update={"samples": study.samples.model_copy(update={"parts": 1})})
        sample(
            cut.sample_slice(g),
            seed=seed,
            part=0,
            dataset=parts,
            model=folders,
            output=samples[g],
            measured_by=[models[m] for m in study.measured_by(spec.sampler.constraint_names())],
        )
    measuring = [models[m] for m in study.judged_by()]
    for g, path in metrics.items():
        drawn = [samples[g]] if g != REAL else []
        evaluate(
            study.evaluate_slice(),
            seed=seed,
            dataset=parts,
            samples=drawn,
            output=path,
            measured_by=measuring,
        )
    compare(
        study.model_copy(update={"seeds": (seed,)}).compare_slice(),
        dataset=parts,
        metrics={g: [metrics[g]] for g in (REAL, *study.generators)},
        samples={g: samples[g] for g in study.generators},
        models={model: [folder] for model, folder in models.items()},
        checkpoints={g: [metrics[g]] for g in study.at_checkpoints()},
        output=tmp_path / "comparison.zarr",
    )
    write_page([tmp_path / "comparison.zarr"], tmp_path / "report.html")
    assert f'<section id="{name}"' in (tmp_path / "report.html").read_text()
    told = open_store(tmp_path / "comparison.zarr").load()
    for constraint, spec in study.constraints.items():
        if "project" in spec.offers() and spec.kind in ("sum", "linear_equality"):
            for g in study.generators:
                exact = g.removeprefix("ladder_").startswith(FEASIBLE)
                violation = float(told[f"relative_violation_{constraint}"].sel(generator=g).max())
                assert (violation <= 1e-6) or not exact, f"{g} violates {constraint} by {violation}"


def in_order(study):
    """Names of the models, parents before those that stand on them or start from them."""
    return TopologicalSorter({name: study.parents(name) for name in study.models}).static_order()
