"""HDF5 files of `plumbline export`: PDEBench's names where they apply, complete data, no partial files."""

import json

import h5py
import numpy as np
import pytest
import xarray as xr

from plumbline.cli import main
from plumbline.datasets.burgers import BurgersSpec
from plumbline.datasets.combustion import CombustionSpec
from plumbline.datasets.digits import DigitsSpec
from plumbline.datasets.gaussian import GaussianSpec
from plumbline.datasets.kolmogorov import KolmogorovSpec
from plumbline.datasets.mixture import MixtureSpec
from plumbline.datasets.random_frameworks import RandomFrameworksSpec
from plumbline.datasets.reactor import ReactorSpec
from plumbline.datasets.sp500_returns import SP500ReturnsSpec
from plumbline.datasets.tilings import TilingsSpec
from plumbline.datasets.vector_autoregressions import VectorAutoregressionsSpec
from plumbline.storage import store
from plumbline.storage.hdf5 import ExportError, export_hdf5

SPLITS = {"train": 3, "validation": 2, "test": 2}
SPECS = [
    BurgersSpec(points=16, times=4, duration=1.0, splits=SPLITS),
    CombustionSpec(splits=SPLITS),
    KolmogorovSpec(points=16, times=2, start=0.1, splits=SPLITS),
    DigitsSpec(splits=SPLITS),
    GaussianSpec(splits=SPLITS),
    MixtureSpec(means=[[0, 0], [1, 1]], stds=[1, 2], splits=SPLITS),
    RandomFrameworksSpec(splits=SPLITS),
    ReactorSpec(splits=SPLITS),
    SP500ReturnsSpec(splits=SPLITS),
    TilingsSpec(splits=SPLITS),
    VectorAutoregressionsSpec(nodes=3, systems=1, splits=SPLITS),
]


def parts_of(spec, folder):
    paths = [folder / f"part-{i:04d}.zarr" for i in range(spec.parts)]
    for i, path in enumerate(paths):
        store.write_store(spec.draw_part(i), path, store.provenance(spec.canonical()))
    return paths


def there_and_back(paths, folder):
    exported, back = folder / "data.h5", folder / "back.zarr"
    assert main(["export", *map(str, paths), "--format", "hdf5", "--output", str(exported)]) == 0
    assert main(["import", str(exported), "--output", str(back)]) == 0
    with h5py.File(exported) as file:
        return set(file), store.open_store(back).load()


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.kind)
def test_every_dataset_comes_back_exactly(spec, tmp_path):
    paths = parts_of(spec, tmp_path)
    before = store.open_parts(paths).load()
    _, after = there_and_back(paths, tmp_path)
    xr.testing.assert_equal(before, after)
    assert set(before.coords) == set(after.coords)
    for name, variable in before.variables.items():
        assert after[name].attrs == variable.attrs
        assert after[name].dtype == variable.dtype
    assert json.loads(after.attrs["plumbline_spec"])["import"] == str(tmp_path / "data.h5")


def test_the_layout_is_pdebenchs(tmp_path):
    export_hdf5(SPECS[0].draw_part(0), tmp_path / "burgers.h5")
    with h5py.File(tmp_path / "burgers.h5") as file:
        assert file["tensor"].shape == (4, 4, 16)
        assert file["x-coordinate"].shape == (16,)
        assert file["t-coordinate"].shape == (4,)
    export_hdf5(SPECS[2].draw_part(0), tmp_path / "flow.h5")
    with h5py.File(tmp_path / "flow.h5") as file:
        assert file["Vx"].shape == file["Vy"].shape == (4, 2, 16, 16)


SIZES = {"sample": 4, "time": 3, "component": 2, "channel": 3, "x": 5, "y": 5}


def fields(*dims, **coords):
    shape = tuple(SIZES[dim] for dim in dims)
    values = np.random.default_rng(0).random(shape).astype(np.float32)
    return xr.Dataset({"state": (dims, values)}, coords=coords)


def plain(**variables):
    return fields("sample", "time", "x").assign(variables)


CASES = {
    "density_and_pressure": (
        fields("sample", "time", "component", "x", component=["density", "pressure"]),
        {"density", "pressure", "component"},
    ),
    "velocities": (fields("sample", "component", "x", "y", component=["v", "u"]), {"Vx", "Vy", "component"}),
    "three_channels": (
        fields("sample", "channel", "x", channel=["a", "b", "c"]), {"a", "b", "c", "channel"},
    ),
    "without_names": (fields("sample", "channel", "x"), {"tensor"}),
    "names_of_others": (
        fields("sample", "component", "x", component=["x", "label"]).assign(label=("sample", np.arange(4.0))),
        {"tensor", "label", "component"},
    ),
    "names_with_slashes": (fields("sample", "component", "x", component=["a/b", "c"]),
        {"tensor", "component"}),
    "a_variable_called_tensor": (plain(tensor=("sample", np.arange(4.0))), {"state", "tensor"}),
    "a_variable_called_as_a_coordinate": (
        plain(**{"x-coordinate": ("x", np.arange(5.0))}).assign_coords(x=np.arange(5.0)),
        {"tensor", "x", "x-coordinate"},
    ),
    "dates": (
        plain().assign_coords(time=np.array("2020-01-01", "M8[ns]") + np.arange(3) * np.timedelta64(1, "D")),
        {"tensor", "t-coordinate"},
    ),
    "durations": (
        plain().assign_coords(time=np.arange(3) * np.timedelta64(1, "s").astype("m8[ns]")),
        {"tensor", "t-coordinate"},
    ),
    "text_and_booleans": (
        plain(label=("sample", np.array(["ä", "", "xyz", "q"], object)), flag=("sample", np.arange(4) > 1)),
        {"tensor", "label", "flag"},
    ),
    "attributes": (
        plain().assign_attrs(list=[1, 2], nested={"a": 1}, empty="", long="x" * 100_000), {"tensor"},
    ),
    "scalars": (plain(number=((), 2.5)), {"tensor", "number"}),
    "complex": (plain(z=("sample", np.arange(4) * 1j)), {"tensor", "z"}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_everything_keeps_its_own_name(case, tmp_path):
    data, names = CASES[case]
    data.to_zarr(tmp_path / "own.zarr", consolidated=False)
    written, back = there_and_back([tmp_path / "own.zarr"], tmp_path)
    assert written == names
    xr.testing.assert_equal(data, back)
    assert all(back.attrs[name] == value for name, value in data.attrs.items())
    assert {name: v.dtype.kind for name, v in data.variables.items() if v.dtype.kind not in "UO"} == {
        name: v.dtype.kind for name, v in back.variables.items() if v.dtype.kind not in "TO"
    }


def test_what_fails_leaves_no_file(tmp_path, capsys):
    data = plain(when=("sample", np.array([None, 1, "a", 2.5], object)))
    with pytest.raises(ExportError, match=r"`when` holds objects \(NoneType\)"):
        export_hdf5(data, tmp_path / "data.h5")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ExportError, match="is a folder: name a file"):
        export_hdf5(plain(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_arrays_in_groups_are_not_left_out_in_silence(tmp_path):
    import zarr

    plain().to_zarr(tmp_path / "own.zarr", consolidated=False)
    zarr.open_group(tmp_path / "own.zarr", mode="a").create_array("a/b", data=np.arange(4.0))
    assert main(["export", str(tmp_path / "own.zarr"), "--output", str(tmp_path / "own.h5")]) == 1
    assert not (tmp_path / "own.h5").exists()


def test_a_file_that_lost_a_component_is_refused(tmp_path):
    export_hdf5(CASES["density_and_pressure"][0], tmp_path / "data.h5")
    with h5py.File(tmp_path / "data.h5", "a") as file:
        assert json.loads(file["density"].attrs["plumbline_dims"])[0] == "sample"
        del file["pressure"]
    assert main(["import", str(tmp_path / "data.h5"), "--output", str(tmp_path / "back.zarr")]) == 1
    assert not (tmp_path / "back.zarr").exists()


def test_damaged_stores_are_named_and_a_users_is_not_to_be_deleted(tmp_path, capsys):
    own, theirs = tmp_path / "own", tmp_path / "theirs.zarr"
    parts = parts_of(SPECS[0], own)
    plain().to_zarr(theirs, consolidated=False)
    chunk = next(
        p for p in (own / "part-0001.zarr" / "state").rglob("*") if p.is_file() and p.name != "zarr.json"
    )
    chunk.write_bytes(chunk.read_bytes()[:20])
    assert main(["export", *map(str, parts), "--output", str(tmp_path / "data.h5")]) == 1
    assert "state" in capsys.readouterr().err
    chunk = next(p for p in (theirs / "state").rglob("*") if p.is_file() and p.name != "zarr.json")
    chunk.write_bytes(chunk.read_bytes()[:20])
    for path in (theirs, tmp_path / "nowhere.zarr"):
        assert main(["export", str(path), "--output", str(tmp_path / "data.h5")]) == 1
        message = capsys.readouterr().err
        assert path.name in message and "elete" not in message and "Traceback" not in message
    assert not [p for p in tmp_path.iterdir() if "data.h5" in p.name]


def test_stores_of_users_are_exported_as_they_are(tmp_path):
    first, second = plain().isel(sample=slice(0, 2)), plain().isel(sample=slice(2, 4))
    first.to_zarr(tmp_path / "a.zarr", zarr_format=2, consolidated=False)
    second.to_zarr(tmp_path / "b.zarr", consolidated=False)
    written, back = there_and_back([tmp_path / "a.zarr", tmp_path / "b.zarr"], tmp_path)
    assert written == {"tensor"}
    xr.testing.assert_equal(plain(), back)
