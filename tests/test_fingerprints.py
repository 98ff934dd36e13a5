"""Fingerprints of the files that a study reads, and the effect of a changed file on the study."""

import json
import logging
import os
import time

import numpy as np
import pytest
import xarray as xr
import yaml

from plumbline import fingerprints
from plumbline.constraints import ConstraintSpec
from plumbline.constraints.conserved import ConservedSpec
from plumbline.datasets import DatasetSpec
from plumbline.datasets.stored import StoredSpec
from plumbline.fingerprints import fingerprint_of, fingerprinted
from plumbline.handover import hand_over, handed_over, variable
from plumbline.input_files import InputFile, ReadsFiles
from plumbline.metrics import MetricSpec
from plumbline.metrics.inception_frechet import InceptionFrechetSpec
from plumbline.models import ModelSpec
from plumbline.observations import ObservationSpec
from plumbline.plan import Plan
from plumbline.progress import Progress
from plumbline.samplers import SamplerSpec
from plumbline.spec import kinds
from plumbline.study import Configuration, StudyError, load_study

QUIET = logging.getLogger("plumbline.test")
SPLITS = {"train": 24, "validation": 8, "test": 8}
STUDY = {
    "title": "Own data",
    "description": "A fitted Gaussian of a store.",
    "dataset": {"kind": "stored", "path": "mine.zarr", "parts": 1, "splits": SPLITS},
    "constraints": {},
    "models": {"fit": {"kind": "fitted_gaussian"}},
    "methods": {"free": {"model": "fit", "sampler": {"kind": "heun", "steps": 2}}},
    "metrics": {"sliced_wasserstein": {"kind": "sliced_wasserstein"}},
    "samples": {"count": 8},
    "seeds": [0],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def old(path):
    """Sets the time of a file, or of everything in a folder, an hour back."""
    past = time.time() - 3600
    for file in [path, *path.rglob("*")]:
        os.utime(file, (past, past))


def taken(path):
    return fingerprint_of(path, path.parent / "cache", Progress(QUIET))


def loaded(**changes):
    """The study with some keys changed, and the fingerprints of its files."""
    with open("mine.yaml", "w") as file:
        yaml.safe_dump(STUDY | changes, file)
    return fingerprinted(load_study("mine.yaml", "paper"), "mine.yaml", fingerprints.Path("cache"), QUIET)


def test_content_decides_and_the_time_on_a_file_does_not(folder):
    file = folder / "a.csv"
    file.write_text("1,2\n")
    first = taken(file)
    os.utime(file, (1, 1))
    assert taken(file) == first
    file.write_text("1,3\n")
    assert taken(file) != first
    file.write_text("1,2\n")
    assert taken(file) == first


def test_a_folder_is_told_by_names_and_contents(folder):
    store = folder / "store"
    (store / "c").mkdir(parents=True)
    (store / "zarr.json").write_text("{}")
    (store / "c" / "0").write_bytes(b"chunk")
    first = taken(store)
    (store / ".DS_Store").write_text("left by a system")
    (store / ".snakemake_timestamp").touch()
    assert taken(store) == first
    (store / "c" / "0").rename(store / "c" / "1")
    assert taken(store) != first
    (store / "c" / "1").rename(store / "c" / "0")
    (store / "round").symlink_to(store)
    assert taken(store) == first


def test_files_that_were_not_touched_are_not_read_again(folder, monkeypatch):
    store = folder / "store"
    store.mkdir()
    for name in ("a", "b"):
        (store / name).write_text(name)
    old(store)
    # The change time of a file's entry (ctime) is set by the system and cannot be set back.
    monkeypatch.setattr(fingerprints, "SETTLED", 0)
    first = taken(store)
    opened = []
    monkeypatch.setattr(fingerprints, "sha256_of", lambda file, tell: opened.append(file.name) or "0" * 64)
    assert taken(store) == first and opened == []
    os.utime(store / "b")
    taken(store)
    assert opened == ["b"]


def test_a_reading_that_is_stopped_goes_on_where_it_was(folder, monkeypatch):
    store = folder / "store"
    store.mkdir()
    for name in ("a", "b"):
        (store / name).write_text(name)
    monkeypatch.setattr(fingerprints, "SETTLED", 0)
    opened = []

    def stopped(file, tell):
        opened.append(file.name)
        if file.name == "b" and opened.count("b") == 1:
            raise KeyboardInterrupt
        return file.name * 64

    monkeypatch.setattr(fingerprints, "sha256_of", stopped)
    with pytest.raises(KeyboardInterrupt):
        taken(store)
    taken(store)
    assert opened == ["a", "b", "b"]


def test_a_file_that_was_just_written_is_read_again(folder, monkeypatch):
    """A second change of equal size within the clock's resolution does not change the file's time."""
    file = folder / "a"
    file.write_text("x")
    stat = file.stat()
    first = taken(file)
    file.write_text("y")
    same = fingerprints.Stat(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    monkeypatch.setattr(fingerprints, "_stat", lambda _: same)
    assert taken(file) != first


def test_large_inputs_say_how_far_they_are(folder, caplog, monkeypatch):
    file = folder / "large"
    file.write_bytes(bytes(1000))
    monkeypatch.setattr(fingerprints, "BLOCK", 250)
    with caplog.at_level(logging.INFO):
        fingerprint_of(file, folder / "cache", Progress(QUIET, every=0))
    assert [line.split("GB (")[1].split(")")[0] for line in caplog.messages] == ["25%", "50%", "75%", "100%"]


def store(path, value):
    states = np.full((40, 4), value, np.float32) + np.arange(40, dtype=np.float32)[:, None]
    xr.Dataset({"state": (("sample", "x"), states)}).to_zarr(path, mode="w")


def test_a_changed_store_is_another_dataset_and_another_model(folder):
    store("mine.zarr", 0)
    first = loaded()
    store("mine.zarr", 0)
    again = loaded()
    assert again == first
    store("mine.zarr", 1)
    changed = loaded()
    assert Plan(changed).dataset_name() != Plan(first).dataset_name()
    assert Plan(changed).trained_name("fit") != Plan(first).trained_name("fit")
    assert Plan(changed).generate_slice() != Plan(first).generate_slice()
    assert Plan(changed).compare_slice() != Plan(first).compare_slice()


def test_files_of_a_model_and_of_a_metric_are_in_their_slices(folder):
    store("mine.zarr", 0)
    store("other.zarr", 0)
    (folder / "inception.pt").write_bytes(b"weights")
    other = {**STUDY["dataset"], "path": "other.zarr"}
    changes = {
        "models": {
            "fit": {"kind": "fitted_gaussian", "dataset": other},
            "classes": {"kind": "classifier", "dataset": STUDY["dataset"]},
        },
        "metrics": {
            "fid": {"kind": "inception_frechet", "weights": "inception.pt"},
            "distance": {"kind": "frechet", "classifier": "classes", "to": {"others": other}},
        },
    }
    first = loaded(**changes)
    store("other.zarr", 1)
    second = loaded(**changes)
    assert Plan(second).dataset_name() == Plan(first).dataset_name()
    assert Plan(second).train_slice("fit") != Plan(first).train_slice("fit")
    assert Plan(second).sample_slice("free") != Plan(first).sample_slice("free")
    assert second.metrics["distance"] != first.metrics["distance"]
    assert second.metrics["fid"] == first.metrics["fid"]
    (folder / "inception.pt").write_bytes(b"others!")
    third = loaded(**changes)
    assert Plan(third).evaluate_slice() != Plan(second).evaluate_slice()
    assert Plan(third).train_slice("fit") == Plan(second).train_slice("fit")


def test_a_study_that_reads_no_files_keeps_its_folders(folder):
    dataset = {"kind": "gaussian", "parts": 2, "splits": SPLITS}
    study = loaded(dataset=dataset)
    assert study == load_study("mine.yaml", "paper")
    assert Plan(study).dataset_name() == "gaussian-" + study.dataset.digest()
    assert "fingerprint" not in study.canonical()


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("dataset", "key"),
    [
        ({"kind": "stored", "path": "gone"}, "path"),
        ({"kind": "series_file", "path": "gone"}, "path"),
        ({"kind": "budget_shares", "data_dir": "gone"}, "file"),
        ({"kind": "image_folder", "data_dir": "gone"}, "data_dir"),
        ({"kind": "image_folder", "data_dir": ".", "table": "gone", "attribute": "a"}, "table"),
        ({"kind": "mof_charges", "data_dir": "gone"}, "data_dir"),
        ({"kind": "cifar10", "data_dir": "gone"}, "data_dir"),
        ({"kind": "lsun", "data_dir": "gone"}, "data_dir"),
    ],
)
def test_a_missing_path_is_named_with_its_key_and_where_it_was_looked_for(folder, dataset, key):
    with pytest.raises(StudyError) as error:
        loaded(dataset={**dataset, "splits": SPLITS, "parts": 1})
    assert f"  - dataset.{key}: there is nothing at {folder}" in str(error.value)
    assert f"Relative paths start at the folder that Snakemake runs in, {folder}." in str(error.value)


@pytest.mark.rejects
def test_a_missing_store_is_named_where_its_splits_are_wanted(folder):
    with pytest.raises(StudyError, match=rf"dataset\.path: .*there is nothing at {folder}/mine\.zarr"):
        loaded(dataset={"kind": "stored", "path": "mine.zarr", "parts": 1})


def test_every_kind_that_names_a_file_has_a_fingerprint():
    rooms = (ConstraintSpec, DatasetSpec, MetricSpec, ModelSpec, ObservationSpec, SamplerSpec)
    files = {"path", "file", "data_dir", "table", "weights", "folder"}
    naming = [
        kind
        for room in rooms
        for kind in kinds(room).values()
        if kind is not ConservedSpec  # its `weights` is a variable of the dataset
        and any(
            name in files and info.annotation in (str, str | None) for name, info in kind.model_fields.items()
        )
    ]
    assert StoredSpec in naming and InceptionFrechetSpec in naming
    assert all(issubclass(kind, ReadsFiles) for kind in naming)


def test_an_address_of_a_file_here_is_that_file(folder):
    (folder / "mine.zip").write_bytes(b"store")
    plain = fingerprints._of_input(InputFile("path", "mine.zip", ""), None, folder / "cache", Progress(QUIET))
    for address in (
        f"file://{folder}/mine.zip",
        f"zip://::{folder}/mine.zip",
        f"zip://::file://{folder}/mine.zip",
    ):
        file = InputFile("path", address, "")
        assert fingerprints._of_input(file, None, folder / "cache", Progress(QUIET)) == plain


def test_all_missing_paths_are_named_by_where_they_stand(folder):
    other = {**STUDY["dataset"], "path": "other.zarr"}
    with pytest.raises(StudyError) as error:
        loaded(
            models={"fit": {"kind": "fitted_gaussian", "dataset": other}},
            metrics={"fid": {"kind": "inception_frechet", "weights": "gone.pt"}},
        )
    lines = str(error.value).splitlines()
    assert [line.split(":")[0] for line in lines[1:]] == [
        "  - dataset.path",
        "  - models.fit.dataset.path",
        "  - metrics.fid.weights",
    ]


@pytest.mark.parametrize(
    "dataset", [{"kind": "process_table", "unit": "cstr"}, {"kind": "mnist"}], ids=["process_table", "mnist"]
)
def test_published_files_may_be_missing_and_another_content_is_noticed(folder, dataset):
    values = {**dataset, "data_dir": "data", "splits": SPLITS, "parts": 1}
    absent = loaded(dataset=values)
    (path,) = {file.path for file in absent.dataset.input_files()[:1]}
    os.makedirs(os.path.dirname(path))
    with open(path, "w") as file:
        file.write("another content")
    assert Plan(loaded(dataset=values)).dataset_name() != Plan(absent).dataset_name()


def test_a_published_file_is_known_in_each_form_that_it_has(folder):
    from plumbline.datasets._download import PublishedFile

    file = folder / "a"
    file.write_text("unzipped")
    known = ("0" * 64, taken(file))
    as_input = PublishedFile("a.gz", "https://example.org/a.gz", *known).as_input(".")
    assert as_input.path == "a"
    assert fingerprints._of_input(as_input, None, folder / "cache", Progress(QUIET)) == known[0]


class Objects:
    """Stands in for the fsspec file system of a server: the records of the objects below an address."""

    def __init__(self, objects):
        self.objects = objects

    def info(self, root):
        return self.objects.get(root, {"type": "directory"})

    def find(self, root, detail):
        assert detail
        return {name: about for name, about in self.objects.items() if name.startswith(f"{root}/")}


def remote(monkeypatch, objects):
    import fsspec

    monkeypatch.setattr(
        fsspec.core, "url_to_fs", lambda address: (Objects(objects), address.removeprefix("s3://"))
    )


def test_a_remote_store_is_told_by_etags_and_sizes(folder, monkeypatch):
    dataset = {**STUDY["dataset"], "path": "s3://bucket/mine.zarr"}
    objects = {
        "bucket/mine.zarr/zarr.json": {"type": "file", "ETag": "a", "size": 10},
        "bucket/mine.zarr/state/c/0": {"type": "file", "ETag": "b", "size": 1000},
    }
    remote(monkeypatch, objects)
    first = loaded(dataset=dataset)
    assert loaded(dataset=dataset) == first
    objects["bucket/mine.zarr/state/c/0"]["ETag"] = "c"
    second = loaded(dataset=dataset)
    assert Plan(second).dataset_name() != Plan(first).dataset_name()
    objects["bucket/mine.zarr/state/c/0"]["size"] = 1001
    assert Plan(loaded(dataset=dataset)).dataset_name() != Plan(second).dataset_name()


def test_a_server_without_etags_needs_a_key_and_a_key_asks_no_server(folder, monkeypatch):
    dataset = {**STUDY["dataset"], "path": "memory://mine.zarr"}
    import fsspec

    fsspec.filesystem("memory").pipe("mine.zarr", b"content")
    with pytest.raises(
        StudyError, match=r"dataset\.path: the server of memory://mine\.zarr gives no ETag .*`fingerprint`"
    ):
        loaded(dataset=dataset)
    with pytest.raises(
        StudyError, match=r"dataset\.path: .*the content of .* cannot be listed .*`fingerprint`"
    ):
        loaded(dataset={**dataset, "path": "memory://gone.zarr"})
    remote(monkeypatch, {"https://example.org/mine.zarr": {"type": "file", "ETag": "a"}})
    with pytest.raises(StudyError, match=r"files below a web address cannot be listed"):
        loaded(dataset={**dataset, "path": "https://example.org/mine.zarr"})
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda address: pytest.fail("a server was asked"))
    first = loaded(dataset={**dataset, "fingerprint": "first"})
    second = loaded(dataset={**dataset, "fingerprint": "second"})
    assert Plan(first).dataset_name() != Plan(second).dataset_name()


def test_other_processes_get_the_studies_of_the_main_one(folder, monkeypatch):
    """This holds even where files have changed or disappeared: the job was planned for the earlier ones."""
    store("mine.zarr", 0)
    study = loaded()
    configuration = Configuration(studies=("mine",))
    monkeypatch.setenv(variable(configuration), "")
    assert handed_over(configuration) is None
    hand_over(configuration, [study], folder / "studies")
    os.rename("mine.zarr", "gone.zarr")
    (received,) = handed_over(configuration)
    assert received == study
    assert Plan(received).generate_slice() == Plan(study).generate_slice()
    assert json.loads(Plan(study).generate_slice())["fingerprint"] == study.dataset.fingerprint
    assert handed_over(Configuration(studies=("another",))) is None
