"""The whole workflow at smoke scale: its report, its profiles, and its messages when something is wrong."""

import pytest
import yaml

from plumbline.storage.store import open_store
from plumbline.study import load_study

pytestmark = pytest.mark.workflow


# A few studies, one of them with models and a constraint that depend on other models. `tests/test_studies.py`
# runs all studies in a single process, which is faster.
STUDIES = {
    "burgers": {"unconstrained", "guided"},
    "combustion": {
        "unconstrained",
        "final_projection",
        "projected",
        "conditioned",
        "conditioned_isotropic",
        "conditioned_tweedie",
    },
    "mirror_count": {"unconstrained", "f_alone", "mirror", "mirror_finetuned"},
}
"""Studies, and those of their methods that are drawn from."""


@pytest.fixture(scope="module")
def finished(workflow):
    """Studies at smoke scale after a real run."""
    config = workflow.folder / "config"
    (config / "config.yaml").write_text(f"studies: [{', '.join(f'few_{name}' for name in STUDIES)}]\n")
    for name, kept in STUDIES.items():
        others = set(load_study(config / "studies" / f"{name}.yaml", "smoke").methods) - kept
        few = {"extends": name, "methods": dict.fromkeys(sorted(others))}
        (config / "studies" / f"few_{name}.yaml").write_text(yaml.safe_dump(few))
    workflow.snakemake("--cores", "2", "--config", "scale=smoke")
    return workflow


def test_it_ends_with_a_report_of_every_study(finished):
    page = (finished.folder / "results" / "report.html").read_text()
    for study in STUDIES:
        assert f'<section id="few_{study}"' in page


def test_methods_are_judged_at_checkpoints(finished):
    results = finished.folder / "results"
    (kept,) = results.glob("models/free-*/seed0/checkpoints")
    assert {path.name for path in kept.glob("step*")} == {"step3", "step6"}
    assert not list(kept.parent.glob("*.partial"))
    table = open_store(results / "few_mirror_count" / "comparison.zarr").load()
    assert set(table["checkpoint_method"].values) == {
        "unconstrained",
        "f_alone",
        "mirror",
        "mirror_finetuned",
    }
    at_the_end = table.sel(judged="mirror-step6")["checkpoint_distance_feasible"].values
    assert at_the_end == table["distance_feasible"].sel(methods="mirror").values
    seconds = table["checkpoint_seconds"].isel(seed=0)
    # A mirror diffusion model depends on its map, a finetuned one on both.
    assert seconds.sel(judged="mirror_finetuned-step3") > seconds.sel(judged="mirror-step6")
    assert "training-time-feasible" in (results / "report.html").read_text()


def test_constrained_methods_are_feasible_and_others_are_not(finished):
    """Feasibility is by construction, so it holds even for untrained models."""
    table = open_store(finished.folder / "results" / "few_combustion" / "comparison.zarr").load()
    violation = table["relative_violation_elements"].mean("seed")
    for method in ("final_projection", "projected", "conditioned", "conditioned_tweedie"):
        assert violation.sel(methods=method) < 1e-6
    assert violation.sel(methods="unconstrained") > 1e-3
    samples = finished.folder / "results/few_combustion/samples/conditioned/seed0/part-0000.zarr"
    stored = open_store(samples).load()
    assert stored["converged_elements"].all()
    assert (stored["final_distance_elements"] < 1e-5).all()


def test_stores_say_where_they_come_from(finished):
    stored = open_store(next((finished.folder / "results/few_burgers/samples/guided/seed0").glob("*.zarr")))
    assert {"plumbline_spec", "plumbline_version", "version_torch", "device", "wall_time_seconds"} <= set(
        stored.attrs
    )
    assert stored.attrs["backward_passes"] == stored.attrs["network_evaluations"]
    assert stored["state"].attrs["units"] == "length/time"
    assert "time" in stored.coords


def test_every_job_has_a_log(finished):
    logs = finished.folder / "logs"
    assert {p.name for p in logs.iterdir()} >= {
        "generate",
        "train",
        "sample",
        "evaluate",
        "compare",
        "report.log",
    }


def test_a_second_run_does_nothing(finished):
    again = finished.snakemake("--cores", "2", "--config", "scale=smoke")
    assert "Nothing to be done" in again.stdout + again.stderr


def test_snakemakes_own_report_holds_the_page(finished):
    finished.snakemake("--config", "scale=smoke", "--report", "own.zip")
    import zipfile

    names = zipfile.ZipFile(finished.folder / "own.zip").namelist()
    assert any(name.endswith("report.html") and "data" in name for name in names), names


@pytest.mark.parametrize("profile", ["default", "slurm"])
@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_profiles_dry_run(workflow, profile, scale):
    # A user's own file must exist when Snakemake starts, but is not read.
    (workflow.folder / "data").mkdir(exist_ok=True)
    (workflow.folder / "data" / "mof_charges.h5").touch()
    done = workflow.snakemake(
        "--profile", f"profiles/{profile}", "-n", "--cores", "2", "--config", f"scale={scale}",
        "studies=[burgers,combustion,gaussian,kolmogorov,process,charges_ensemble,constrained_vae,"
        "assimilation_burgers,mirror_divergence_published]",
        "results=elsewhere",
    )  # fmt: skip
    assert "train" in done.stdout + done.stderr


def test_a_wrong_key_stops_before_any_job(workflow):
    path = workflow.folder / "config" / "studies" / "wrong.yaml"
    values = yaml.safe_load((workflow.folder / "config" / "studies" / "gaussian.yaml").read_text())
    values["dataset"]["dimensions"] = 3
    path.write_text(yaml.safe_dump(values))
    done = workflow.snakemake("--cores", "1", "--config", "studies=[wrong]", check=False)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "dataset.dimensions: unknown key (did you mean 'dimension'?)" in said
    assert "Traceback" not in said


def test_a_corrupt_part_is_named(finished):
    """A part was damaged after it was made: the job that reads it names it."""
    part = next((finished.folder / "results" / "data").glob("combustion-*/part-0000.zarr"))
    (part / "zarr.json").write_text("{")
    done = finished.snakemake(
        "--cores", "1", "--config", "scale=smoke", "--forcerun", "compare", "--until", "compare", check=False
    )
    assert done.returncode != 0
    assert f"{part.name} is not a readable store" in done.stdout + done.stderr
