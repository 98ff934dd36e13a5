"""Loaders of published files, tested on the real files where available and on small ones everywhere."""

import gzip
import hashlib
import io
import pickle
import struct
from pathlib import Path

import h5py
import lmdb
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from plumbline.constraints.linear_equality import LinearEqualitySpec
from plumbline.constraints.sum import SumSpec
from plumbline.datasets import mnist
from plumbline.datasets._download import DataFileError, PublishedFile
from plumbline.datasets._images.idx import read_idx
from plumbline.datasets.budget_shares import BudgetSharesSpec
from plumbline.datasets.cifar10 import CIFAR10Spec
from plumbline.datasets.digits import DigitsSpec
from plumbline.datasets.expectations import ExpectationsSpec
from plumbline.datasets.image_folder import ImageFolderSpec
from plumbline.datasets.lsun import LSUNSpec
from plumbline.datasets.mnist import MNISTSpec
from plumbline.datasets.mof_charges import MOFChargesSpec, pack
from plumbline.datasets.process_table import UNITS, ProcessTableSpec
from plumbline.datasets.sp500_returns import SP500ReturnsSpec
from plumbline.datasets.sp500_windows import SP500WindowsSpec, least_variance

DATA = Path(__file__).parents[3] / "shared" / "data"
SPLITS = {"train": 6, "validation": 2, "test": 2}
real_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"NOT RUN: no published data in {DATA}")


@real_data
@pytest.mark.parametrize("unit", UNITS)
def test_process_tables_obey_their_balances(unit):
    data = ProcessTableSpec(unit=unit, data_dir=str(DATA), parts=1, splits=SPLITS | {"train": 400}).draw_part(
        0
    )
    balances = LinearEqualitySpec(matrix="balance_matrix", target="balance_target").build(data).bind(data)
    assert float(balances.violation(tensor(data)).max()) < 1e-5
    assert data["condition"].shape[1] == UNITS[unit].inputs


def tensor(data):
    import torch

    return torch.as_tensor(data["state"].values)


def test_a_file_that_is_not_there_is_named_with_its_source(tmp_path):
    wanted = PublishedFile("a/b.csv", "http://localhost:9/b.csv", "0" * 64)
    with pytest.raises(DataFileError, match=r"a/b\.csv does not exist, and http://localhost:9/b\.csv"):
        wanted.fetch(str(tmp_path))


def test_a_data_folder_that_cannot_be_made_is_named_with_the_file(tmp_path):
    (tmp_path / "data").write_text("a file, not a folder")
    with pytest.raises(DataFileError, match=r"train-images.* could not be downloaded \(FileExistsError"):
        PublishedFile("train-images", "https://example.org/train-images", "0" * 64).fetch(
            str(tmp_path / "data")
        )


def test_a_file_of_other_content_is_refused(tmp_path):
    (tmp_path / "b.csv").write_text("one")
    right = hashlib.sha256(b"one").hexdigest()
    assert PublishedFile("b.csv", "", right).fetch(str(tmp_path)) == tmp_path / "b.csv"
    with pytest.raises(
        DataFileError, match=f"b.csv is not the published file: its SHA-256 is {right}, expected 0{{64}}"
    ) as raised:
        PublishedFile("b.csv", "", "0" * 64).fetch(str(tmp_path))
    assert "`dataset.data_dir`" in str(raised.value)
    assert "elete" not in str(raised.value)
    assert (tmp_path / "b.csv").read_text() == "one"


def write_idx(path: Path, values: np.ndarray) -> None:
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))


def test_idx_files_are_read(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (5, 4, 3))
    write_idx(tmp_path / "x.gz", values)
    np.testing.assert_array_equal(read_idx(tmp_path / "x.gz"), values)
    whole = gzip.decompress((tmp_path / "x.gz").read_bytes())
    (tmp_path / "x").write_bytes(whole)
    np.testing.assert_array_equal(read_idx(tmp_path / "x"), values)
    for content, found in (
        (whole[:-1], "should hold 5 x 4 x 3 values, but holds 59"),
        (whole + b"0", "should hold 5 x 4 x 3 values, but holds 61"),
        (
            whole[:4] + b"\xff" * 12 + whole[16:],
            "should hold 4294967295 x 4294967295 x 4294967295 values, but holds 60",
        ),
        (whole[:7], "is truncated: it ends within the sizes of its 3 axes"),
        (b"PK\x03\x04", "is not an IDX file"),
        (b"", "is not an IDX file"),
        ((tmp_path / "x.gz").read_bytes()[:-20], "is truncated or damaged"),
    ):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(DataFileError, match=f"bad {found}"):
            read_idx(tmp_path / "bad")


def test_mnist_is_read_from_small_files_of_its_format(tmp_path, monkeypatch):
    random = np.random.default_rng(1)
    images, labels = random.integers(1, 256, (12, 28, 28)), random.integers(0, 10, 12)
    for name, values in (("train-images-idx3-ubyte.gz", images), ("train-labels-idx1-ubyte.gz", labels)):
        write_idx(tmp_path / name, values)
        zipped = (tmp_path / name).read_bytes()
        hashes = [hashlib.sha256(content).hexdigest() for content in (zipped, gzip.decompress(zipped))]
        monkeypatch.setitem(mnist.HASHES, name, tuple(hashes))
    data = MNISTSpec(data_dir=str(tmp_path), parts=1, splits=SPLITS).draw_part(0)
    order = np.random.default_rng(0).permutation(12)
    np.testing.assert_allclose(data["state"], images[order[:10]] / 255, rtol=1e-6)
    np.testing.assert_array_equal(data["label"], labels[order[:10]])


@real_data
def test_the_official_mnist_test_files_are_read():
    data = MNISTSpec(files="t10k", data_dir=str(DATA), brightness=100.0, parts=1, splits=SPLITS).draw_part(0)
    assert data["state"].shape == (10, 28, 28)
    assert float(SumSpec(total=100.0).build(data).violation(tensor(data)).max()) < 1e-6


def test_digits_have_the_brightness_asked_for():
    data = DigitsSpec(brightness=19.5, parts=1, splits=SPLITS).draw_part(0)
    assert data["state"].shape == (10, 8, 8)
    assert float(SumSpec(total=19.5).build(data).violation(tensor(data)).max()) < 1e-6
    free = DigitsSpec(parts=1, splits=SPLITS).draw_part(0)
    assert float(free["state"].max()) == 1.0
    np.testing.assert_array_equal(data["label"], free["label"])
    with pytest.raises(ValueError, match="1797 images"):
        DigitsSpec(parts=1, splits=SPLITS | {"train": 5000}).draw_part(0)


def test_cifar_is_read_from_small_files_of_its_format(tmp_path):
    random = np.random.default_rng(2)
    records = random.integers(0, 256, (10, 3073), dtype=np.uint8)
    records[:, 0] %= 10
    records[:6].tofile(tmp_path / "data_batch_1.bin")
    records[6:].tofile(tmp_path / "data_batch_2.bin")
    spec = CIFAR10Spec(
        data_dir=str(tmp_path), batches=("data_batch_1.bin", "data_batch_2.bin"), parts=1, splits=SPLITS
    )
    data = spec.draw_part(0)
    assert data["state"].dims == ("sample", "channel", "y", "x")
    order = np.random.default_rng(0).permutation(10)
    np.testing.assert_allclose(data["state"].values.reshape(10, -1), records[order, 1:] / 255, rtol=1e-6)
    np.testing.assert_array_equal(data["label"], records[order, 0])


@pytest.mark.parametrize("layout", ["MNIST/raw/{}.gz", "{}", "again/{}.gz", "MNIST/raw/{}", "dotted"])
def test_mnist_is_found_as_others_save_it(tmp_path, monkeypatch, layout):
    values = {"train-images-idx3-ubyte": np.arange(12 * 784).reshape(12, 28, 28) % 256}
    values["train-labels-idx1-ubyte"] = np.arange(12) % 10
    for name, array in values.items():
        write_idx(tmp_path / "x.gz", array)
        zipped = (tmp_path / "x.gz").read_bytes()
        hashes = [hashlib.sha256(content).hexdigest() for content in (zipped, gzip.decompress(zipped))]
        monkeypatch.setitem(mnist.HASHES, f"{name}.gz", tuple(hashes))
        place = tmp_path / (
            layout.format(name).removeprefix("again/") if layout != "dotted" else name.replace("-idx", ".idx")
        )
        place.parent.mkdir(parents=True, exist_ok=True)
        again = gzip.compress(gzip.decompress(zipped), 1, mtime=7)
        place.write_bytes(
            {"again/{}.gz": again, "MNIST/raw/{}.gz": zipped}.get(layout, gzip.decompress(zipped))
        )
    data = MNISTSpec(data_dir=str(tmp_path), parts=1, splits=SPLITS).draw_part(0)
    order = np.random.default_rng(0).permutation(12)[:10]
    np.testing.assert_array_equal(data["label"], values["train-labels-idx1-ubyte"][order])
    np.testing.assert_allclose(data["state"] * 255, values["train-images-idx3-ubyte"][order], atol=1e-4)


def cifar(folder: Path, **values):
    return CIFAR10Spec(data_dir=str(folder), parts=1, splits=SPLITS, **values).draw_part(0)


@pytest.mark.parametrize("key", [bytes, str])
def test_cifar_is_read_from_the_version_for_python(tmp_path, key):
    random = np.random.default_rng(4)
    (tmp_path / "cifar-10-batches-py").mkdir()
    records = random.integers(0, 256, (10, 3073), dtype=np.uint8)
    records[:, 0] = np.arange(10)
    for name, part in (("data_batch_1", records[:5]), ("data_batch_2", records[5:])):
        batch = {"data": part[:, 1:], "labels": part[:, 0].tolist(), "batch_label": "training"}
        named = {k.encode() if key is bytes else k: v for k, v in batch.items()}
        (tmp_path / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(named, protocol=2))
    order = np.random.default_rng(0).permutation(10)
    # The folder itself, torchvision's root folder, and the default folder, which does not exist.
    for folder in (tmp_path / "cifar-10-batches-py", tmp_path, tmp_path / "cifar-10-batches-bin"):
        data = cifar(folder, batches=("data_batch_1.bin", "data_batch_2.bin"))
        np.testing.assert_array_equal(data["label"], order)
        np.testing.assert_allclose(data["state"].values.reshape(10, -1) * 255, records[order, 1:], atol=1e-4)


class Intruder:
    def __reduce__(self):
        return print, ("run by a pickle",)


def test_batches_that_are_not_those_of_cifar_are_named(tmp_path, capsys):
    records = np.zeros((10, 3073), np.uint8)
    records[:, 1] = np.arange(10)
    (tmp_path / "right.bin").write_bytes(records.tobytes())
    (tmp_path / "again.bin").write_bytes(records.tobytes())
    # Truncated files whose sizes add up to whole records.
    (tmp_path / "cut.bin").write_bytes(records.tobytes()[:-100])
    (tmp_path / "rest.bin").write_bytes(b"0" * 100 + records.tobytes())
    (tmp_path / "empty.bin").write_bytes(b"")
    records[3, 0] = 10
    (tmp_path / "label.bin").write_bytes(records.tobytes())
    (tmp_path / "intruder.bin").write_bytes(pickle.dumps(Intruder()))
    (tmp_path / "list.bin").write_bytes(pickle.dumps([1, 2]))
    (tmp_path / "other.bin").write_bytes(
        pickle.dumps({"data": np.zeros((3, 10), np.uint8), "labels": [0, 1, 2]})
    )
    for batches, found in (
        (("cut.bin", "rest.bin"), "cut.bin is not a complete batch .* 30630 bytes"),
        (("empty.bin",), "empty.bin is not a complete batch"),
        (("label.bin",), r"label.bin .* 1 of 10 labels are above 9, the first in record 3 \(10\)"),
        (("right.bin", "again.bin"), "right.bin and .*again.bin contain the same images"),
        (("intruder.bin",), "a batch must not contain .*print"),
        (("list.bin",), "it holds a list"),
        (("other.bin",), r"expected `data` of bytes .*found uint8 \(3, 10\) and \(3,\)"),
        (("right.bin", "none.bin"), "none.bin does not exist"),
    ):
        with pytest.raises(DataFileError, match=found):
            cifar(tmp_path, batches=batches)
    assert capsys.readouterr().out == ""
    with pytest.raises(ValidationError, match="`batches` must list files, each once"):
        cifar(tmp_path, batches=("right.bin", "right.bin"))


def test_a_folder_of_photographs_is_cut_and_scaled(tmp_path):
    for i in range(10):
        pixels = np.zeros((30, 20, 3), np.uint8)
        pixels[10:20, 5:15] = [10 * i + 50, 100, 150]
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    data = ImageFolderSpec(data_dir=str(tmp_path), crop=10, size=5, parts=1, splits=SPLITS).draw_part(0)
    assert data["state"].shape == (10, 3, 5, 5)
    red = np.sort(data["state"].values[:, 0, 2, 2])
    np.testing.assert_allclose(red, (10 * np.arange(10) + 50) / 255, atol=1e-6)
    (tmp_path / "none").mkdir()
    with pytest.raises(DataFileError, match="contains no images"):
        ImageFolderSpec(data_dir=str(tmp_path / "none"), parts=1, splits=SPLITS).draw_part(0)
    with pytest.raises(DataFileError, match="is not a folder"):
        ImageFolderSpec(data_dir=str(tmp_path / "0.png"), parts=1, splits=SPLITS).draw_part(0)


@pytest.fixture
def faces(tmp_path):
    """Twelve images, every third with the attribute, with its table in CelebA's format and as a CSV file."""
    for i in range(12):
        Image.fromarray(np.full((8, 8, 3), 20 * i, np.uint8)).save(tmp_path / f"{i:06d}.png")
    lines = [f"{i:06d}.png  {'1' if i % 3 == 0 else '-1'} -1" for i in range(12)]
    (tmp_path / "table.txt").write_text("\n".join(["12", "Male Young", *lines]))
    commas = [",".join(line.split()) for line in lines]
    (tmp_path / "table.csv").write_text("\n".join(["image_id,Male,Young", *commas]))
    return tmp_path


@pytest.mark.parametrize("table", ["table.txt", "table.csv"])
def test_attributes_of_a_table_are_labels(faces, table):
    splits = {"train": 4, "validation": 2, "test": 2}
    spec = {"data_dir": str(faces), "table": str(faces / table), "attribute": "Male", "size": 8, "parts": 1}
    data = ImageFolderSpec(**spec, splits=splits).draw_part(0)
    numbers = np.round(data["state"].values[:, 0, 0, 0] * 255 / 20).astype(int)
    np.testing.assert_array_equal(data["label"], numbers % 3 == 0)
    rare = ImageFolderSpec(**spec, rare={1: 0.0}, splits=splits).draw_part(0)
    assert not rare["label"].values[rare["split"].values == "train"].any()


def test_several_attributes_stand_beside_the_images(faces):
    spec = {"data_dir": str(faces), "table": str(faces / "table.txt"), "size": 8, "parts": 1}
    splits = {"train": 8, "validation": 2, "test": 2}
    data = ImageFolderSpec(**spec, attributes=("Young", "Male"), splits=splits).draw_part(0)
    numbers = np.round(data["state"].values[:, 0, 0, 0] * 255 / 20).astype(int)
    np.testing.assert_array_equal(data["attributes"].sel(attribute="Male"), numbers % 3 == 0)
    assert not data["attributes"].sel(attribute="Young").any()
    assert data["attribute"].values.tolist() == ["Young", "Male"]
    assert "label" not in data
    with pytest.raises(DataFileError, match="has no attribute 'Old'"):
        ImageFolderSpec(**spec, attributes=("Male", "Old"), splits=splits).draw_part(0)


def test_tables_that_do_not_fit_are_named(faces):
    spec = {"data_dir": str(faces), "size": 8, "parts": 1, "splits": SPLITS}
    with pytest.raises(DataFileError, match=r"has no attribute 'Old'; it has Male, Young"):
        ImageFolderSpec(**spec, table=str(faces / "table.txt"), attribute="Old").draw_part(0)
    (faces / "short.txt").write_text("1\nMale\n000000.png 1")
    with pytest.raises(DataFileError, match=r"no line for 11 images, 000001\.png among them"):
        ImageFolderSpec(**spec, table=str(faces / "short.txt"), attribute="Male").draw_part(0)
    with pytest.raises(DataFileError, match="does not exist"):
        ImageFolderSpec(**spec, table=str(faces / "none.txt"), attribute="Male").draw_part(0)
    with pytest.raises(ValidationError, match="`table` requires `attribute` or `attributes`"):
        ImageFolderSpec(**spec, attribute="Male")


def test_folders_are_labels(tmp_path):
    for name, shade in (("n01440764", 40), ("n01443537", 200)):
        (tmp_path / name).mkdir()
        for i in range(6):
            Image.fromarray(np.full((8, 8, 3), shade + i, np.uint8)).save(tmp_path / name / f"{i}.JPEG")
    data = ImageFolderSpec(data_dir=str(tmp_path), size=8, parts=1, splits=SPLITS).draw_part(0)
    np.testing.assert_array_equal(data["label"], data["state"].values[:, 0, 0, 0] > 0.5)


def test_lsun_is_read_from_its_database(tmp_path):
    """A database in the format of the official archives: hashes as keys, photographs as WebP."""
    pixels = np.zeros((10, 40, 30, 3), np.uint8)
    pixels[:, 5:35] = 20 * np.arange(10)[:, None, None, None]
    encoded = {}
    for image in pixels:
        Image.fromarray(image).save(stream := io.BytesIO(), format="webp", lossless=True)
        encoded[hashlib.sha1(stream.getvalue()).hexdigest().encode()] = stream.getvalue()
    with lmdb.open(str(tmp_path), map_size=2**20) as written, written.begin(write=True) as write:
        for key, value in encoded.items():
            write.put(key, value)
    data = LSUNSpec(data_dir=str(tmp_path), size=15, parts=1, splits=SPLITS).draw_part(0)
    assert data["state"].shape == (10, 3, 15, 15)
    # The central square of a photograph has one grey value, which identifies the photograph.
    greys = data["state"].values[:, :, 7, 7]
    np.testing.assert_allclose(np.sort(greys[:, 0]), 20 * np.arange(10) / 255, atol=1e-6)
    np.testing.assert_allclose(data["state"].values, greys[:, :, None, None] * np.ones((15, 15)), atol=1e-6)
    in_order = [np.asarray(Image.open(io.BytesIO(encoded[key])))[20, 15, 0] / 255 for key in sorted(encoded)]
    order = np.random.default_rng(0).permutation(10)
    np.testing.assert_allclose(greys[:, 0], np.asarray(in_order)[order], atol=1e-6)
    whole = (tmp_path / "data.mdb").read_bytes()
    for size, found in (
        (9000, "is truncated: it has 9000 of [0-9]+ bytes"),
        (100, r"is truncated \(100 bytes\)"),
    ):
        (tmp_path / "data.mdb").write_bytes(whole[:size])
        with pytest.raises(DataFileError, match=rf"data\.mdb .*{found}|{found}"):
            LSUNSpec(data_dir=str(tmp_path), size=15, parts=1, splits=SPLITS).draw_part(0)
    (tmp_path / "data.mdb").write_bytes(b"not a database" * 4000)
    with pytest.raises(DataFileError, match=r"data\.mdb is not a readable LMDB database"):
        LSUNSpec(data_dir=str(tmp_path), size=15, parts=1, splits=SPLITS).draw_part(0)
    with pytest.raises(DataFileError, match=r"data\.mdb does not exist"):
        LSUNSpec(data_dir=str(tmp_path / "none"), parts=1, splits=SPLITS).draw_part(0)


def test_values_of_a_database_that_are_no_images_are_named_by_their_keys(tmp_path):
    Image.new("RGB", (8, 8)).save(stream := io.BytesIO(), format="webp")
    with lmdb.open(str(tmp_path), map_size=2**20) as written, written.begin(write=True) as write:
        write.put(b"num-samples", b"9")
        for i in range(9):
            write.put(str(i).encode(), stream.getvalue())
    with pytest.raises(DataFileError, match=r"data\.mdb, key 'num-samples' is not an image"):
        LSUNSpec(data_dir=str(tmp_path), size=4, parts=1, splits=SPLITS).draw_part(0)
    with lmdb.open(str(tmp_path), map_size=2**20) as written, written.begin(write=True) as write:
        for i in range(9):
            write.delete(str(i).encode())
        write.delete(b"num-samples")
    with pytest.raises(DataFileError, match=r"data\.mdb contains no scenes"):
        LSUNSpec(data_dir=str(tmp_path), size=4, parts=1, splits=SPLITS).draw_part(0)


def small_checkout(folder: Path, frameworks: int = 12) -> list[np.ndarray]:
    """Files in the format of the source: one-hot elements, labels and bonds of each framework."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(3)
    charges = []
    for i in range(frameworks):
        n = 3 + i
        q = random.standard_normal(n)
        charges.append(q - q.mean())
        np.save(folder / f"mof{i:02d}_node_features.npy", np.eye(4, dtype=int)[random.integers(0, 4, n)])
        np.save(folder / f"mof{i:02d}_node_labels.npy", charges[-1])
        bonds = "".join(f"{j},{j + 1},{1.0 + j}\n" for j in range(n - 1))
        (folder / f"mof{i:02d}.edge_info").write_text("src,dst,r\n" + bonds)
    return charges


def test_charges_are_packed_from_a_checkout_and_read(tmp_path):
    charges = small_checkout(tmp_path / "mpn_charges" / "MPNN" / "input")
    data = MOFChargesSpec(data_dir=str(tmp_path), parts=1, splits=SPLITS | {"train": 8}).draw_part(0)
    assert [path.name for path in tmp_path.iterdir()] == ["mpn_charges"]
    sizes = sorted(int(n) for n in data["present"].sum("atom"))
    assert sizes == [3 + i for i in range(12)]
    for row, here in zip(data["state"].values, data["present"].values, strict=True):
        np.testing.assert_allclose(row[here], charges[int(here.sum()) - 3], rtol=1e-6)
        assert (row[~here] == 0).all()
    assert (data["bonds"].values[..., 0] >= 0).sum() == sum(n - 1 for n in sizes)


def test_charges_that_are_not_there_are_named_with_both_ways(tmp_path):
    with pytest.raises(DataFileError, match=r"mof_charges\.h5 nor .*mpn_charges"):
        MOFChargesSpec(data_dir=str(tmp_path), parts=1, splits=SPLITS).draw_part(0)


@real_data
def test_the_published_charges_are_all_read():
    splits = {"train": 1586, "validation": 226, "test": 454}
    data = MOFChargesSpec(data_dir=str(DATA), parts=1, splits=splits).draw_part(0)
    assert int(data["present"].sum()) == 334_103
    train = data["species"].values[:1586]
    assert len(np.unique(train[train >= 0])) == 74
    assert np.abs(data["state"].values.astype(float).sum(1)).max() < 1e-4
    with h5py.File(DATA / "mof_charges.h5") as file:
        assert int((data["bonds"].values[..., 0] >= 0).sum()) == file["edge_length"].shape[0]


def test_packing_leaves_nothing_half_written(tmp_path):
    small_checkout(tmp_path / "input")
    (tmp_path / "input" / "mof03.edge_info").write_text("src,dst\n")
    with pytest.raises(DataFileError, match=r"mof03\.edge_info has no column r"):
        pack(tmp_path / "input", tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


@real_data
def test_budget_shares_sum_to_one():
    data = BudgetSharesSpec(data_dir=str(DATA / "finance"), parts=1, splits=SPLITS).draw_part(0)
    np.testing.assert_allclose(data["state"].sum("share"), 1.0, rtol=1e-6)
    assert data["condition"].shape == (10, 4)


@pytest.mark.rejects
def test_a_budget_that_is_none_is_named(tmp_path):
    (tmp_path / "own.csv").write_text("a,b,c\n" + "0.5,0.2,1\n" * 12)
    values = {
        "data_dir": str(tmp_path),
        "file": "own.csv",
        "parts": 1,
        "splits": SPLITS,
        "given_logarithm": (),
    }
    with pytest.raises(
        ValueError, match=r"own\.csv, row 1: shares must sum to 1 within 0\.01, but sum to 0\.7 \(12 such"
    ):
        BudgetSharesSpec(shares=("a", "b"), given=("c",), **values).draw_part(0)
    with pytest.raises(ValueError, match="no column 'd'; it has a, b, c"):
        BudgetSharesSpec(shares=("a", "b"), given=("d",), **values).draw_part(0)


@pytest.fixture
def households():
    random = np.random.default_rng(5)
    shares = random.dirichlet(np.ones(3), 12).round(4)
    return [
        [*row, *more] for row, more in zip(shares.tolist(), zip(range(20, 32), range(1, 13)), strict=True)
    ]


NAMES = ["s1", "s2", "s3", "age", "income"]


def budget(tmp_path, text, suffix=".csv", **values):
    (tmp_path / f"own{suffix}").write_text(text, encoding=values.pop("encoding", "utf-8"))
    columns = {"shares": NAMES[:3], "given": ["age"], "given_logarithm": ["income"]}
    spec = BudgetSharesSpec(
        data_dir=str(tmp_path), file=f"own{suffix}", parts=1, splits=SPLITS, **columns | values
    )
    return spec.draw_part(0)


def as_text(rows, names=NAMES, between=","):
    return "\n".join(between.join(map(str, row)) for row in ([names] if names else []) + rows) + "\n"


@pytest.mark.parametrize(
    "table",
    {
        "commas": as_text,
        "index": lambda rows: as_text([[i, *row] for i, row in enumerate(rows)], ["", *NAMES]),
        "semicolons": lambda rows: as_text(rows, between=";"),
        "decimal commas": lambda rows: as_text(rows, between=";").replace(".", ","),
        "other columns": lambda rows: as_text([["x", *row] for row in rows], ["note", *NAMES]),
        "byte order mark": lambda rows: "\ufeff" + as_text(rows).replace("\n", "\r\n"),
    }.values(),
)
def test_budgets_are_read_as_people_save_them(tmp_path, households, table):
    data = budget(tmp_path, table(households))
    rows = np.array(households)[np.random.default_rng(0).permutation(12)[:10]]
    np.testing.assert_allclose(data["state"], rows[:, :3] / rows[:, :3].sum(1, keepdims=True), rtol=1e-6)
    np.testing.assert_allclose(data["condition"], np.stack([rows[:, 3], np.log(rows[:, 4])], 1), rtol=1e-12)
    assert data["given"].values.tolist() == ["age", "log income"]
    tabs = budget(tmp_path, as_text(households, between="\t"), suffix=".tsv")
    np.testing.assert_array_equal(tabs["state"], data["state"])


@pytest.mark.parametrize(
    ("row", "column", "value", "found"),
    [
        (5, 4, 0, "column 'income', row 6: found 0 .1 such values in all., expected a positive number"),
        (2, 4, -3, "column 'income', row 3: found -3"),
        (5, 0, "", "column 's1', row 6: expected a number, found a missing value"),
        (3, 1, "nan", "column 's2', row 4: expected a number, found a missing value"),
        (3, 3, "old", "column 'age', row 4: expected a number, found 'old'"),
        (1, 2, -0.1, "column 's3', row 2: found -0.1 .*expected a share from 0 to 1"),
        (4, 2, 0.9999, r"row 5: shares must sum to 1 within 0\.01, but sum to [0-9.]+ \(1 such"),
    ],
)
def test_values_that_no_household_has_are_named(tmp_path, households, row, column, value, found):
    households[row][column] = value
    with pytest.raises(DataFileError, match=rf"own\.csv, {found}"):
        budget(tmp_path, as_text(households))


def test_budgets_of_another_form_are_named(tmp_path, households):
    percentages = [[100 * share for share in row[:3]] + row[3:] for row in households]
    for text, found in (
        (as_text(percentages), "own.csv: the shares sum to 100, so they are percentages"),
        (as_text(households, names=None), "own.csv has no header"),
        ("", "own.csv: expected a line of names"),
        (as_text(households, ["s1", "s1", "s3", "age", "income"]), "2 columns have the name 's1'"),
    ):
        with pytest.raises(DataFileError, match=found):
            budget(tmp_path, text)
    with pytest.raises(DataFileError, match="not UTF-8"):
        budget(tmp_path, as_text(households, ["\xe9", *NAMES[1:]]), encoding="latin-1")
    with pytest.raises(ValidationError, match="each column once"):
        budget(tmp_path, as_text(households), given=["s1"])


def test_the_portfolio_is_the_mean_of_the_stocks():
    data = SP500ReturnsSpec(parts=1, splits=SPLITS).draw_part(0)
    equality = LinearEqualitySpec(matrix="portfolio_matrix", target="portfolio_target").build(data)
    assert float(equality.violation(tensor(data)).max()) < 1e-6


def test_windows_do_not_overlap_where_they_are_judged_and_none_knows_the_future():
    spec = SP500WindowsSpec(
        lookback=30, horizon=10, stride=3, parts=1, splits={"train": 50, "validation": 8, "test": 8}
    )
    days = spec.decision_days(1000)
    assert (np.diff(days[50:]) == 10).all() and days[-1] + 10 == 1000
    assert days[49] + 10 <= days[50] and (np.diff(days[:50]) == 3).all()
    data = spec.draw_part(0)
    np.testing.assert_array_equal(data["window"].values[52, -10:], data["future"].values[51])
    with pytest.raises(ValueError, match="days before the series"):
        SP500WindowsSpec(splits={"train": 1200, "validation": 64, "test": 64})


def test_the_least_variance_in_hindsight_is_least():
    returns = np.random.default_rng(0).standard_normal((3, 400, 4)) * [1.0, 2.0, 0.5, 1.5]
    weights = least_variance(returns)
    np.testing.assert_allclose(weights.sum(1), 1.0)
    variance = np.einsum("bdi,bi->bd", returns, weights).var(1)
    for other in np.random.default_rng(1).dirichlet(np.ones(4), 200):
        assert (np.einsum("bdi,i->bd", returns, other).var(1) > 0.9 * variance).all()  # except for the ridge


@pytest.mark.parametrize("feasible_mean", [False, True])
def test_exact_gradients_are_those_of_automatic_differentiation(feasible_mean):
    """The hand-written chain rule agrees with the derivative of the closed-form expectation."""
    import torch

    from plumbline.constraints._linear_equality import LinearEquality
    from plumbline.distributions.constrained_gaussian import ConstrainedGaussian

    spec = ExpectationsSpec(
        dimensions=(3, 7), equalities=(1, 2), feasible_mean=feasible_mean, parts=1,
        splits={"train": 1, "validation": 2, "test": 13},
    )  # fmt: skip
    data = spec.draw_part(0)
    for i in range(16):
        n, m = int(data["dimension"][i]), int(data["equalities"][i])
        mean, variance, target = (
            torch.tensor(data[name].values[i, :n], requires_grad=True)
            for name in ("mean", "variance", "target")
        )
        matrix = torch.tensor(data["matrix"].values[i, :m, :n])
        q = ConstrainedGaussian(mean, variance, LinearEquality(matrix, (matrix @ target).detach()))
        expected = (
            q.expected_l1(target.detach()) if int(data["loss"][i]) == 0 else q.expected_l2(target.detach())
        )
        found = torch.autograd.grad(expected.sum(), (mean, variance))
        np.testing.assert_allclose(torch.stack(found), data["state"].values[i, :, :n], rtol=1e-4, atol=1e-5)
        assert (data["state"].values[i, :, n:] == 0).all()
