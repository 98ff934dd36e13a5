"""Files with bytes changed, inserted, removed or cut off are read, or refused by name."""

import gzip
import io
import pickle
import random
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from plumbline.datasets._download import DataFileError
from plumbline.datasets._graphs import read_packed
from plumbline.datasets._images.attribute_table import read_attribute_table
from plumbline.datasets._images.cifar import read_batch
from plumbline.datasets._images.decoding import decoded
from plumbline.datasets._images.idx import read_idx

MUTATIONS = 40
RANDOM = np.random.default_rng(0)
IDX = bytes([0, 0, 8, 3]) + struct.pack(">3I", 3, 4, 5) + bytes(60)


def image(form, dtype=np.uint8, shape=(9, 7, 3)):
    values = RANDOM.random(shape)
    pixels = values.astype(dtype) if dtype == np.float32 else (np.iinfo(dtype).max * values).astype(dtype)
    Image.fromarray(pixels).save(stream := io.BytesIO(), form)
    return stream.getvalue()


def packed():
    columns = {
        "name": ["a", "b"], "node_species": np.array([0, 1, 2, 1], np.uint8), "node_charge": np.zeros(4),
        "node_pointer": [0, 2, 4], "edge_index": [[0, 0], [1, 1]], "edge_length": [1.0, 1.0],
        "edge_pointer": [0, 1, 2],
    }  # fmt: skip
    with h5py.File(stream := io.BytesIO(), "w") as file:
        for name, values in columns.items():
            file[name] = values
    return stream.getvalue()


def table(path):
    images = [Path(f"img/{i}.jpg") for i in range(4)]
    return read_attribute_table(path).attributes_of(images, Path("img"), ["A", "B"])


def an_image(path):
    return decoded(path, str(path), 0.5)


FILES = {
    **{form: (lambda form=form: image(form), an_image) for form in ("png", "jpeg", "webp", "gif", "tiff",
        "ppm")},
    "deep": (lambda: image("png", np.uint16, (9, 7)), an_image),
    "float": (lambda: image("tiff", np.float32, (9, 7)), an_image),
    "clear": (lambda: image("png", np.uint8, (9, 7, 4)), an_image),
    "table": (lambda: b"4\nA B\n" + b"".join(b"%d.jpg 1 -1\n" % i for i in range(4)), table),
    "csv": (lambda: b",id,A,B\n" + b"".join(b"%d,%d.jpg,1,0\n" % (i, i) for i in range(4)), table),
    "idx": (lambda: IDX, read_idx),
    "idx, gzipped": (lambda: gzip.compress(IDX), read_idx),
    "cifar": (lambda: pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [1]}, 2), read_batch),
    "hdf5": (packed, lambda path: read_packed(path, 74)),
}  # fmt: skip


def mutated(content, source):
    changed = bytearray(content)
    for _ in range(source.randint(1, 3)):
        # Headers are at the start of a file; most of a large file is not header.
        place = source.randrange(min(len(changed), source.choice([300, 10**6])))
        kind = source.choice(["cut", "change", "change", "insert", "remove"])
        if kind == "cut":
            del changed[place + 1 :]
        elif kind == "change":
            changed[place] = source.randrange(256)
        elif kind == "insert":
            changed[place:place] = source.randbytes(5)
        else:
            del changed[place : min(place + 5, len(changed) - 1)]
    return bytes(changed)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_read_or_refused_by_name(tmp_path, name):
    make, read = FILES[name]
    path, source, content = tmp_path / "file", random.Random(name), make()
    path.write_bytes(content)
    read(path)
    refusals = []
    for _ in range(MUTATIONS):
        path.write_bytes(mutated(content, source))
        try:
            read(path)
        except DataFileError as error:
            refusals.append(str(error))
    assert refusals
    assert all(str(path) in refusal for refusal in refusals)
