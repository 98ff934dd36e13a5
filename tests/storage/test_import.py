"""Foreign files: layouts are read with the written values; ambiguities are refused, with the option
to set."""

import logging
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse
import xarray as xr

from plumbline.cli import main
from plumbline.datasets._download import DataFileError
from plumbline.datasets.stored import StoredSpec
from plumbline.storage.importing import imported
from plumbline.storage.importing.axes import along_one_axis, name_axes
from plumbline.storage.importing.options import ImportOptions, from_text
from plumbline.storage.store import open_store

N, T, X, Y, Z = 6, 5, 8, 7, 4
RNG = np.random.default_rng(0)


def values(*shape, dtype=np.float32):
    return RNG.random(shape).astype(dtype)


def grid(**lengths):
    return {f"{name}-coordinate": np.arange(n) / 10 for name, n in lengths.items()}


def write(path, arrays, **attrs):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file.attrs.update(attrs)
    return path


def load(path, **options):
    with imported(str(path), ImportOptions(**options)) as data:
        return data.load()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "in.h5"


# PDEBench


def test_one_field_is_the_state(path):
    tensor = values(N, T, X)
    data = load(write(path, {"tensor": tensor, **grid(x=X, t=T + 1)}, Nu=0.01))
    assert data["state"].dims == ("sample", "time", "x")
    np.testing.assert_array_equal(data["state"], tensor)
    np.testing.assert_allclose(data["time"], np.arange(T) / 10)
    np.testing.assert_allclose(data["x"], np.arange(X) / 10)
    assert data.attrs["Nu"] == 0.01


@pytest.mark.parametrize(
    ("names", "space", "dims"),
    [
        (("density", "pressure", "Vx"), "x", ("sample", "channel", "time", "x")),
        (("density", "pressure", "Vx", "Vy"), "xy", ("sample", "time", "channel", "x", "y")),
        (("density", "pressure", "Vx", "Vy", "Vz"), "xyz", ("sample", "time", "channel", "x", "y", "z")),
    ],
    ids=["1d", "2d", "3d"],
)
def test_compressible_flow_keeps_every_field(path, names, space, dims):
    lengths = dict(zip(space, (X, Y, Z), strict=False))
    fields = {name: values(N, T, *lengths.values()) for name in names}
    data = load(write(path, {**fields, **grid(t=T + 1, **lengths)}, eta=0.1))
    assert data["state"].dims == dims
    assert data["channel"].values.tolist() == list(names)
    for name in names:
        np.testing.assert_array_equal(data["state"].sel(channel=name), fields[name])
    assert data.attrs["eta"] == 0.1


def test_velocities_alone_are_components(path):
    fields = {name: values(N, T, X, Y) for name in ("Vx", "Vy")}
    data = load(write(path, {**fields, **grid(t=T, x=X, y=Y)}))
    assert data["state"].dims == ("sample", "time", "component", "x", "y")
    np.testing.assert_array_equal(data["state"].sel(component="v"), fields["Vy"])


def test_a_field_of_parameters_is_condition_and_variable(path):
    nu, tensor = values(N, X, Y), values(N, 1, X, Y)
    data = load(write(path, {"nu": nu, "tensor": tensor, **grid(x=X, y=Y), "t-coordinate": [0.0]}, beta=1.0))
    np.testing.assert_array_equal(data["state"], tensor)
    np.testing.assert_array_equal(data["nu"], nu)
    assert data["nu"].dims == ("sample", "x", "y")
    np.testing.assert_array_equal(data["condition"], nu)
    assert data["condition"].dims == ("sample", "x", "y") and "parameter" not in data.coords
    assert data.attrs["beta"] == 1.0
    # Without a time coordinate, or with PDEBench's ten times, the axis of length one is dropped.
    for times in ({}, grid(t=10)):
        data = load(write(path, {"nu": nu, "tensor": tensor, **grid(x=X, y=Y), **times}))
        assert data["state"].dims == ("sample", "x", "y") and "time" not in data.coords
        np.testing.assert_array_equal(data["state"], tensor[:, 0])
        np.testing.assert_array_equal(data["condition"], nu)


def test_several_parameters_are_one_vector(path):
    """Fields are flattened, because a vector has no grid."""
    nu, force, tensor = values(N, X, Y), values(N), values(N, X, Y)
    data = load(write(path, {"nu": nu, "force": force, "tensor": tensor, **grid(x=X, y=Y)}))
    expected = np.concatenate([force[:, None], nu.reshape(N, -1)], 1)
    np.testing.assert_array_equal(data["condition"], expected)
    assert data["parameter"].values[1 + Y] == "nu[1, 0]"


def test_what_is_the_same_for_all_samples_is_no_condition(path):
    """A scalar becomes an attribute, a field a separate variable. A field with one time is one per sample."""
    arrays = {
        "tensor": values(N, 1, X, Y),
        "nu": values(N, 1, X, Y),
        "mask": values(X, Y),
        "D": 0.25,
        "k": [3.0],
    }
    data = load(write(path, {**arrays, **grid(x=X, y=Y, t=1)}))
    np.testing.assert_array_equal(data["nu"], arrays["nu"][:, 0])
    np.testing.assert_array_equal(data["condition"], arrays["nu"][:, 0])
    np.testing.assert_array_equal(data["mask"], arrays["mask"])
    assert data["mask"].dims == ("x", "y")
    assert (data.attrs["D"], data.attrs["k"]) == (0.25, 3.0)


def test_scalars_of_each_sample_are_the_condition(path):
    viscosity, forcing = values(N), values(N, 1)
    arrays = {"tensor": values(N, T, X), "viscosity": viscosity, "forcing": forcing, **grid(x=X, t=T)}
    data = load(write(path, arrays))
    assert data["parameter"].values.tolist() == ["forcing", "viscosity"]
    np.testing.assert_array_equal(data["condition"], np.stack([forcing[:, 0], viscosity], 1))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("space", ["x", "xy"])
def test_a_group_a_sample(path, channels, space):
    lengths = dict(zip(space, (X, Y), strict=False))
    arrays = [values(T, *lengths.values(), channels) for _ in range(12)]
    with h5py.File(path, "w") as file:
        for i, array in enumerate(arrays):
            file[f"{i:04d}/data"] = array
            file[f"{i:04d}/grid/t"] = np.arange(T) * 0.5
            file[f"{i:04d}"].attrs.update(k=0.25, D=float(i), config="a: 1")
            for name, n in lengths.items():
                file[f"{i:04d}/grid/{name}"] = np.arange(n) / 10
    data = load(path)
    wanted = np.stack(arrays)
    if channels == 1:
        np.testing.assert_array_equal(data["state"], wanted[..., 0])
    else:
        turned = data["state"].transpose("sample", "time", *lengths, "channel")
        np.testing.assert_array_equal(turned, wanted)
        assert data["channel"].values.tolist() == ["data_0", "data_1"]
    np.testing.assert_array_equal(data["time"], np.arange(T) * 0.5)
    assert data.attrs["k"] == 0.25
    np.testing.assert_array_equal(data["condition"][:, 0], np.arange(12))
    with h5py.File(path, "a") as file:
        file["0003/grid/t"][2] = 9.0
    with pytest.raises(DataFileError, match=r"`0003/grid/t` differs from `0000/grid/t`"):
        load(path)


def test_incompressible_flow(path):
    velocity, particles, force = values(2, T, X, Y, 2), values(2, T, X, Y, 1), values(2, X, Y, 2)
    times = np.tile(np.arange(T) * 0.1, (2, 1))
    arrays = {"velocity": velocity, "particles": particles, "force": force, "t": times}
    data = load(write(path, arrays), periods={"x": 1.0, "y": 2.0})
    assert data["state"].dims == ("sample", "time", "component", "x", "y")
    np.testing.assert_array_equal(data["state"].sel(component="u"), velocity[..., 0])
    np.testing.assert_array_equal(data["particles"], particles[..., 0])
    np.testing.assert_array_equal(data["force"].transpose("sample", "x", "y", "component"), force)
    np.testing.assert_allclose(data["time"], times[0])
    np.testing.assert_allclose(data["y"], np.arange(Y) * 2 / Y)
    assert data["y"].attrs["period"] == 2.0
    times[1] += 1
    with pytest.raises(
        DataFileError, match=r"`t` has the shape \(2, 5\) and varies along 2.*`--coordinate time=`"
    ):
        load(write(path, {**arrays, "t": times}))


# Axes


def test_axes_are_told_by_lengths(path):
    tensor = values(N, T, X, Y, 2)
    data = load(write(path, {"tensor": tensor, **grid(t=T + 1, x=X, y=Y)}))
    np.testing.assert_array_equal(data["state"].transpose("sample", "time", "x", "y", "channel"), tensor)
    np.testing.assert_array_equal(
        load(write(path, {"tensor": tensor[None, ..., 0], **grid(t=T, x=X, y=Y)}))["state"], tensor[..., 0]
    )
    turned = tensor[..., 0].transpose(0, 3, 1, 2)
    data = load(write(path, {"tensor": turned, **grid(t=T, x=X, y=Y)}))
    np.testing.assert_array_equal(data["state"], tensor[..., 0])
    static = load(write(path, {"tensor": tensor[:, 0, :, 0, 0], **grid(x=X)}))
    assert static["state"].dims == ("sample", "x")


@pytest.mark.parametrize(
    ("shape", "lengths", "expected"),
    [
        ((6, 5, 8), {"time": 5, "x": 8}, ("sample", "time", "x")),
        ((6, 8, 5), {"time": 5, "x": 8}, ("sample", "x", "time")),
        ((5, 8, 6), {"time": 5, "x": 8}, ("time", "x", "sample")),
        ((6, 3, 5, 8), {"time": 5, "x": 8}, ("sample", "channel", "time", "x")),
        ((6, 5, 8, 1), {"time": 5, "x": 8}, ("sample", "time", "x", "channel")),
        ((1, 6, 5, 8), {"time": 5, "x": 8}, ("_", "sample", "time", "x")),
        ((6, 8, 8), {"time": 8, "x": 8}, ("sample", "time", "x")),
        ((6, 5, 8), {"x": 8}, None),
        ((6, 5, 8), {"time": 11, "x": 8}, None),
        ((6, 5, 8), {"time": 5, "x": 9}, None),
        ((8, 5, 5), {"time": 5, "x": 8}, None),
        ((6, 5, 8), {}, None),
    ],
)
def test_an_order_is_taken_only_where_it_is_the_only_one(shape, lengths, expected):
    assert name_axes(shape, lengths) == expected


def test_names_that_stand_for_something_else_take_nothing_over(path, caplog):
    tensor = values(N, T, X)
    arrays = {"tensor": tensor, "state": values(N, T, X), "time": values(N, T, X), "condition": values(N)}
    data = load(write(path, {**arrays, **grid(x=X, t=T)}))
    np.testing.assert_array_equal(data["state"], tensor)
    np.testing.assert_allclose(data["time"], np.arange(T) / 10)
    np.testing.assert_array_equal(data["condition"][:, 0], arrays["condition"])
    assert "not imported: state" in caplog.text and "not imported: time" in caplog.text


def test_only_times_may_be_one_longer(path):
    tensor = values(N, T, X)
    with pytest.raises(DataFileError, match=r"No axis has the length of t-coordinate.*`--coordinate time=`"):
        load(write(path, {"tensor": tensor, **grid(x=X, t=T + 6)}))
    write(path, {"tensor": tensor, **grid(x=X + 1, t=T)})
    with pytest.raises(DataFileError, match=r"x-coordinate: 9 values.*edges of cells with `--edges x`"):
        load(path)
    np.testing.assert_allclose(load(path, edges=("x",))["x"], np.arange(X) / 10 + 0.05)
    data = load(path, coordinates={"x": ""}, dims={"": ("sample", "time", "x")})
    assert "x" not in data.coords and "time" in data.coords
    with pytest.raises(DataFileError, match=r"no `x`|`x` has 9 values along x, but the state has 8"):
        load(path, dims={"": ("sample", "time", "x")})


@pytest.mark.parametrize("indexing", ["ij", "xy"])
@pytest.mark.parametrize("sides", [(X, Y), (X, X)])
def test_meshgrids_say_the_order_of_the_axes(path, indexing, sides):
    x, y = (np.arange(n) / 10 for n in sides)
    mesh = np.meshgrid(x, y, indexing=indexing)
    field = values(N, T, *mesh[0].shape)
    arrays = {"tensor": field, "x-coordinate": mesh[0], "y-coordinate": mesh[1], **grid(t=T)}
    data = load(write(path, arrays))
    np.testing.assert_array_equal(data["x"], x)
    np.testing.assert_array_equal(data["state"], field if indexing == "ij" else field.swapaxes(2, 3))
    arrays["x-coordinate"] = mesh[0] + mesh[1]
    with pytest.raises(DataFileError, match=r"`x-coordinate` .*varies along 2 of its axes"):
        load(write(path, arrays))


def test_a_coordinate_of_one_value_is_one(path):
    line, axis = along_one_axis(np.full((1, 3), 2.0), "x", "x")
    assert (line.tolist(), axis) == ([2.0, 2.0, 2.0], 1)


def test_staggered_fields_are_moved_as_asked(path):
    arrays = {"Vx": values(N, T, X + 1, Y), "Vy": values(N, T, X, Y + 1), **grid(x=X, y=Y, t=T)}
    with pytest.raises(DataFileError, match=r"staggered grid: Vx \(6, 5, 9, 7\).*`--faces mean`"):
        load(write(path, arrays))
    mean = load(path, faces="mean")["state"]
    np.testing.assert_allclose(
        mean.sel(component="u"), (arrays["Vx"][:, :, 1:] + arrays["Vx"][:, :, :-1]) / 2
    )
    np.testing.assert_allclose(mean.sel(component="v"), (arrays["Vy"][..., 1:] + arrays["Vy"][..., :-1]) / 2)
    first = load(path, faces="first")["state"]
    np.testing.assert_array_equal(first.sel(component="u"), arrays["Vx"][:, :, :-1])
    without = {name: array for name, array in arrays.items() if name.startswith("V")}
    with pytest.raises(DataFileError, match=r"there are none.*as in `--dims sample,time,x,y`"):
        load(write(path, without), faces="mean")
    named = load(path, faces="first", dims={"": ("sample", "time", "x", "y")})["state"]
    np.testing.assert_array_equal(named, first)


# The Well


@pytest.mark.parametrize("flat", [False, True])
def test_the_well(path, caplog, flat):
    pressure, velocity, stress = values(N, T, X, Y), values(N, T, X, Y, 2), values(N, T, X, Y, 2, 2)
    mask, height = values(X, Y), values(N, X)
    with h5py.File(path, "w") as file:
        file["t0_fields/pressure"], file["t1_fields/velocity"] = pressure, velocity
        file["t2_fields/stress"] = stress.reshape(N, T, X, Y, 4) if flat else stress
        file["t0_fields/mask"], file["t0_fields/height"] = mask, height
        file["t0_fields/mask"].attrs.update(
            sample_varying=False, time_varying=False, dim_varying=[True, True]
        )
        file["t0_fields/height"].attrs.update(
            sample_varying=True, time_varying=False, dim_varying=[True, False]
        )
        file["dimensions/time"] = np.arange(T) * 0.1
        file["dimensions/x"], file["dimensions/y"] = np.arange(X) / X, np.arange(Y) / Y
        file["dimensions"].attrs["spatial_dims"] = ["x", "y"]
        file["scalars/Re"], file["scalars/amplitude"] = np.array([100.0]), np.arange(N) * 1.0
        file["scalars/Re"].attrs.update(sample_varying=False, time_varying=False)
        file["scalars/amplitude"].attrs.update(sample_varying=True, time_varying=False)
        periodic = file.create_group("boundary_conditions/boundary_of_x")
        periodic.attrs.update(bc_type="periodic", associated_dims=["x"])
        file.create_group("boundary_conditions/y_wall").attrs["bc_type"] = "WALL"
        file["boundary_conditions/y_wall/mask"] = np.ones(Y, bool)
        file.attrs.update(n_trajectories=N, dataset_name="made up")
    with caplog.at_level(logging.INFO, "plumbline.storage"):
        data = load(path)
    labels = ["pressure", "velocity_x", "velocity_y", "stress_xx", "stress_xy", "stress_yx", "stress_yy"]
    assert data["channel"].values.tolist() == labels
    assert data["state"].dims == ("sample", "time", "channel", "x", "y")
    np.testing.assert_array_equal(data["state"].sel(channel="pressure"), pressure)
    np.testing.assert_array_equal(data["state"].sel(channel="velocity_y"), velocity[..., 1])
    np.testing.assert_array_equal(data["state"].sel(channel="stress_yx"), stress[..., 1, 0])
    np.testing.assert_array_equal(data["mask"], mask)
    np.testing.assert_array_equal(data["condition"], np.concatenate([height, np.arange(N)[:, None]], 1))
    assert data["x"].attrs["period"] == pytest.approx(1.0) and "period" not in data["y"].attrs
    assert data.attrs["Re"] == 100.0
    assert data.attrs["boundary_conditions"] == "boundary_of_x: PERIODIC, y_wall: WALL"
    assert "not imported: boundary_conditions/y_wall/mask" in caplog.text


def test_a_periodic_direction_whose_end_repeats_its_start_is_refused(path):
    field = values(N, T, X)
    field[:, :, -1] = field[:, :, 0]
    with h5py.File(path, "w") as file:
        file["t0_fields/u"], file["dimensions/time"] = field, np.arange(T) * 0.1
        file["dimensions/x"] = np.linspace(0, 1, X)
        file.create_group("boundary_conditions/x_periodic").attrs["bc_type"] = "PERIODIC"
    with pytest.raises(DataFileError, match="its last point repeats the first"):
        load(path)


# MATLAB and NumPy


def matlab73(path, arrays):
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file[name] = np.transpose(array)
            file[name].attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(512))
    return path


@pytest.mark.parametrize("version", ["7.3", "5"])
@pytest.mark.parametrize(
    ("given", "solution", "dims"),
    [
        ((N, X), (N, X), ("sample", "x")),
        ((N, X, Y), (N, X, Y), ("sample", "x", "y")),
        ((N, X, Y), (N, X, Y, T), ("sample", "time", "x", "y")),
        ((N, X), (N, T, X), ("sample", "time", "x")),
    ],
    ids=str,
)
def test_matlab_files_of_operator_learning(tmp_path, version, given, solution, dims):
    a, u = values(*given, dtype=np.float64), values(*solution, dtype=np.float64)
    path = tmp_path / "in.mat"
    if version == "5":
        scipy.io.savemat(path, {"a": a, "u": u})
    else:
        matlab73(path, {"a": a, "u": u})
    data = load(path)
    assert data["state"].dims == dims
    np.testing.assert_array_equal(data["state"], u if len(solution) < 4 else np.moveaxis(u, 3, 1))
    np.testing.assert_array_equal(data["condition"], a)


def test_matlab_files_that_do_not_tell_time_from_space(tmp_path):
    matlab73(tmp_path / "in.mat", {"a": values(N, X), "u": values(N, X, X)})
    with pytest.raises(
        DataFileError, match=r"`u` has the shape \(6, 8, 8\) in MATLAB's order.*`--dims sample,x,y`"
    ):
        load(tmp_path / "in.mat")
    data = load(tmp_path / "in.mat", dims={"": ("sample", "x", "time")})
    assert data["state"].dims == ("sample", "time", "x")


def test_sparse_matrices_and_structures_of_matlab(tmp_path):
    path, dense = tmp_path / "in.mat", np.eye(N)
    scipy.io.savemat(path, {"sp": scipy.sparse.csc_matrix(dense), "st": {"k": 1.0}})
    data = load(path, variables=("sp",), dims={"": ("sample", "x")})
    np.testing.assert_array_equal(data["state"], dense)
    with pytest.raises(DataFileError, match="`st` holds text or objects"):
        load(path, variables=("st",), dims={"": ("sample", "x")})


def test_files_that_nothing_says_matlab_wrote(path):
    a, u = values(X, N), values(X, N)
    write(path, {"a": a, "u": u})
    with pytest.raises(
        DataFileError, match=r"`--variable u --condition a --dims sample,x` \(or `x,sample`\)"
    ):
        load(path)
    data = load(path, variables=("u",), conditions=("a",), dims={"": ("x", "sample")})
    np.testing.assert_array_equal(data["state"], u.T)
    np.testing.assert_array_equal(data["condition"], a.T)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npz(tmp_path, save, order):
    u, t, nu = values(N, T, X), np.arange(T) / 10, values(N)
    save(tmp_path / "in.npz", u=np.asarray(u, order=order), t=t, x=np.arange(X) / 8, nu=nu)
    data = load(tmp_path / "in.npz", periods={"x": 1.0})
    assert data["state"].dims == ("sample", "time", "x")
    np.testing.assert_array_equal(data["state"], u)
    np.testing.assert_array_equal(data["time"], t)
    np.testing.assert_array_equal(data["condition"][:, 0], nu)
    assert data["x"].attrs["period"] == 1.0


def test_npy_and_files_of_many_arrays(tmp_path):
    np.save(tmp_path / "in.npy", values(N, X))
    with pytest.raises(DataFileError, match=r"`in` has the shape \(6, 8\).*`--dims sample,time`"):
        load(tmp_path / "in.npy")
    assert load(tmp_path / "in.npy", dims={"": ("sample", "x")})["state"].dims == ("sample", "x")
    np.savez(tmp_path / "in.npz", x=values(N, X), y=values(N, X), names=np.array(["a"] * N))
    with pytest.raises(DataFileError, match=r"has no known layout.*`--variable x --dims"):
        load(tmp_path / "in.npz")
    data = load(tmp_path / "in.npz", variables=("y",), conditions=("x",), dims={"": ("sample", "x")})
    assert data["condition"].shape == (N, X)
    np.savez(tmp_path / "in.npz", u=np.array([{}, None], object)[:, None])
    with pytest.raises(DataFileError, match=r"`u` holds text or objects"):
        load(tmp_path / "in.npz", variables=("u",), dims={"": ("sample", "x")})
    (tmp_path / "cut.npz").write_bytes((tmp_path / "in.npz").read_bytes()[:100])
    with pytest.raises(DataFileError, match="cannot be read as a NumPy file"):
        load(tmp_path / "cut.npz")


def test_several_variables_are_channels_of_these_names(path):
    arrays = {"T": values(N, T, X), "rho": values(N, T, X), "unused": values(3)}
    write(path, {**arrays, **grid(x=X, t=T)})
    data = load(path, variables=("rho", "T"))
    assert data["channel"].values.tolist() == ["rho", "T"]
    np.testing.assert_array_equal(data["state"].sel(channel="T"), arrays["T"])


def test_coordinates_of_a_group_and_of_other_names(path):
    u = values(N, T, X)
    arrays = {"train/u": u, "train/x": np.arange(X) / X, "train/t": np.arange(T) / T, "x": np.arange(3.0)}
    data = load(write(path, arrays), variables=("train/u",))
    np.testing.assert_array_equal(data["state"], u)
    np.testing.assert_allclose(data["x"], np.arange(X) / X)
    write(path, {"u": u, "lon": np.arange(X) * 45.0})
    data = load(path, dims={"": ("sample", "time", "lon")})
    np.testing.assert_array_equal(data["lon"], np.arange(X) * 45.0)


def test_splits_of_a_file_are_kept(tmp_path):
    split = np.array(["train"] * 2 + ["validation"] * 2 + ["test"] * 2)
    np.savez(tmp_path / "in.npz", u=values(N, X), x=np.arange(X) / X, split=split)
    assert main(["import", str(tmp_path / "in.npz"), "--output", str(tmp_path / "out.zarr")]) == 0
    drawn = StoredSpec(path=str(tmp_path / "out.zarr"), parts=1).draw_part(0)
    assert drawn["split"].values.tolist() == split.tolist()


# Named dimensions and tables


@pytest.mark.parametrize(
    "name", ["in.nc", "classic.nc", "v2.zarr", "v3.zarr", "in.zarr.zip", "file://in.zarr", "netcdf.h5"]
)
def test_files_that_name_their_dimensions(tmp_path, name):
    data = xr.Dataset(
        {
            "u": (("batch", "time", "lon"), values(N, T, X)),
            "nu": ("batch", values(N)),
            "note": ("lon", values(X)),
        },
        coords={"time": pd.date_range("2020-01-01", periods=T), "lon": np.arange(X) * 45.0},
        attrs={"viscosity": 0.1},
    )
    path = tmp_path / name.removeprefix("file://")
    if name == "netcdf.h5" or name.endswith(".nc"):
        data.to_netcdf(path, engine="scipy" if name == "classic.nc" else "h5netcdf")
    elif name.endswith("zip"):
        data.to_zarr(tmp_path / "zipped.zarr", consolidated=False)
        shutil.make_archive(str(path.with_suffix("")), "zip", tmp_path / "zipped.zarr")
    else:
        data.to_zarr(path, zarr_format=2 if name == "v2.zarr" else 3, consolidated=False)
    given = f"file://{path}" if name.startswith("file") else path
    with pytest.raises(
        DataFileError, match=r"\(batch, time, lon\), and none is `sample`.*`--dims sample,time,lon`"
    ):
        load(given)
    read = load(given, dims={"": ("sample", "time", "x")}, conditions=("nu",), periods={"x": 360.0})
    assert read["state"].dims == ("sample", "time", "x")
    np.testing.assert_array_equal(read["state"], data["u"])
    np.testing.assert_array_equal(read["condition"][:, 0], data["nu"])
    np.testing.assert_array_equal(read["note"], data["note"])
    np.testing.assert_array_equal(read["x"], data["lon"])
    np.testing.assert_array_equal(read["time"], data["time"])
    assert read["x"].attrs["period"] == 360.0 and read.attrs["viscosity"] == 0.1


@pytest.mark.parametrize("name", ["in.nc", "in.zarr"])
def test_datasets_of_this_form_stay_as_they_are(tmp_path, name):
    data = xr.Dataset(
        {
            "state": (("sample", "time", "component", "x", "y"), values(N, T, 2, X, Y), {"units": "m/s"}),
            "condition": (("sample", "element"), values(N, 3)),
            "label": ("sample", np.arange(N)),
        },
        coords={
            "component": ["u", "v"],
            "element": ["C", "H", "O"],
            "x": ("x", np.arange(X) / X, {"period": 1.0}),
            "split": ("sample", ["train"] * 2 + ["validation"] * 2 + ["test"] * 2),
        },
        attrs={"viscosity": 0.1},
    )
    if name == "in.nc":
        data.to_netcdf(tmp_path / name, engine="h5netcdf")
    else:
        data.to_zarr(tmp_path / name, consolidated=False)
    read = load(tmp_path / name)
    xr.testing.assert_equal(read, data)
    assert read.attrs["viscosity"] == 0.1 and read["x"].attrs["period"] == 1.0
    assert read["state"].attrs["units"] == "m/s"


@pytest.mark.parametrize("coords", [{}, {"channel": [10, 20]}, {"channel": ["a", "b"]}], ids=str)
def test_channels_of_a_dataset_keep_their_coordinate(tmp_path, coords):
    data = xr.Dataset({"state": (("sample", "channel", "x"), values(N, 2, X))}, coords=coords)
    data.to_zarr(tmp_path / "in.zarr", consolidated=False)
    xr.testing.assert_equal(load(tmp_path / "in.zarr"), data)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz", ".parquet"])
def test_tables(tmp_path, suffix, caplog):
    table = pd.DataFrame({"a": values(7), "age": np.arange(7), "b": values(7), "name": list("abcdefg")})
    table["split"] = ["train"] * 3 + ["validation"] * 2 + ["test"] * 2
    path = tmp_path / f"in{suffix}"
    if suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    with pytest.raises(DataFileError, match=r"column 'name', row 1: expected a number.*`--variable`"):
        load(path)
    with caplog.at_level(logging.INFO, "plumbline.storage"):
        data = load(path, variables=("b", "a"), conditions=("age",))
    assert data["component"].values.tolist() == ["b", "a"]
    np.testing.assert_allclose(data["state"], table[["b", "a"]], rtol=1e-6)
    np.testing.assert_array_equal(data["condition"][:, 0], table["age"])
    assert data["split"].values.tolist() == table["split"].tolist()
    assert "not imported: the columns name" in caplog.text
    output = tmp_path / "out.zarr"
    assert main(["import", str(path), "--output", str(output), "--variable", "a,b"]) == 0
    drawn = StoredSpec(path=str(output), parts=1).draw_part(0)
    np.testing.assert_allclose(drawn["state"], table[["a", "b"]], rtol=1e-6)
    assert drawn["split"].values.tolist() == table["split"].tolist()


# Values, damage, options


@pytest.mark.parametrize(
    ("dtype", "stored"), [(">f8", "f8"), ("<f2", "f4"), ("i4", "f4"), ("u1", "f4"), (">i8", "f4")]
)
def test_number_formats_become_native_floats(path, tmp_path, dtype, stored):
    tensor = np.arange(N * T * X).reshape(N, T, X) % 97
    write(path, {"tensor": tensor.astype(dtype), **grid(x=X, t=T)})
    assert main(["import", str(path), "--output", str(tmp_path / "out.zarr")]) == 0
    data = open_store(tmp_path / "out.zarr")
    assert data["state"].dtype == np.dtype(stored)
    np.testing.assert_array_equal(data["state"], tensor)


def test_empty_arrays_are_named(path):
    with pytest.raises(DataFileError, match=r"`tensor` is empty \(sample: 6, time: 5, x: 0\)"):
        load(write(path, {"tensor": values(N, T, 0)}), dims={"": ("sample", "time", "x")})
    with pytest.raises(DataFileError, match=r"`x-coordinate` is empty"):
        load(write(path, {"tensor": values(N, X), "x-coordinate": values(0, 3)}))


def test_large_whole_numbers_stay_exact(path):
    tensor = np.full((N, T, X), 2**24 + 1)
    data = load(write(path, {"tensor": tensor, **grid(x=X, t=T)}))
    np.testing.assert_array_equal(data["state"], tensor)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (np.ones((N, T, X), complex), "`tensor` holds complex numbers"),
        (np.ones((N, T, X), bool), "`tensor` holds booleans"),
        (np.full((N, T, X), b"a"), "`tensor` holds text or objects"),
    ],
    ids=["complex", "boolean", "text"],
)
def test_what_is_no_number_is_named(path, tensor, message):
    with pytest.raises(DataFileError, match=rf"in\.h5: {message}"):
        load(write(path, {"tensor": tensor, **grid(x=X, t=T)}))


def test_diverged_trajectories_are_refused_and_leave_nothing(path, tmp_path, capsys):
    tensor = values(N, T, X)
    tensor[2, 3:], tensor[4, 1, 0] = np.nan, np.inf
    write(path, {"tensor": tensor, **grid(x=X, t=T)})
    assert main(["import", str(path), "--output", str(tmp_path / "out.zarr")]) == 1
    message = capsys.readouterr().err
    assert (
        "`state` contains 17 values that are not finite (16 missing, 1 infinite), in 2 samples (2, 4)"
        in message
    )
    assert "Traceback" not in message
    assert [p.name for p in tmp_path.iterdir()] == ["in.h5"]


def test_damage_is_named(path, tmp_path, capsys):
    with h5py.File(path, "w") as file:
        file.create_dataset("tensor", data=values(N, T, X), chunks=(2, T, X), fletcher32=True)
        file.update(grid(x=X, t=T))
        offset = file["tensor"].id.get_chunk_info(1).byte_offset
    raw = bytearray(path.read_bytes())
    raw[offset + 5] ^= 255
    path.write_bytes(raw)
    assert main(["import", str(path), "--output", str(tmp_path / "out.zarr")]) == 1
    message = capsys.readouterr().err
    assert "in.h5: `tensor` cannot be read" in message and "Traceback" not in message
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DataFileError, match=r"in\.h5 is truncated"):
        load(path)
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(DataFileError, match=r"text\.h5 is not a readable HDF5 file"):
        load(tmp_path / "text.h5")
    with pytest.raises(DataFileError, match=r"text\.xyz has the suffix \.xyz"):
        load((tmp_path / "text.h5").rename(tmp_path / "text.xyz"))
    with pytest.raises(DataFileError, match="there is nothing at"):
        load(tmp_path / "nowhere.h5")


def test_groups_and_unknown_layouts_list_what_is_there(path):
    with pytest.raises(DataFileError, match=r"`tensor` is a group, which contains tensor/high, tensor/low"):
        load(write(path, {"tensor/low": values(N, T, X), "tensor/high": values(N, T, X)}))
    data = load(path, variables=("tensor/low",), dims={"": ("sample", "time", "x")})
    assert data["state"].shape == (N, T, X)
    with pytest.raises(DataFileError, match=r"holds p \(6, 5, 8\), q \(6, 5, 8\).*`--variable p"):
        load(write(path, {"p": values(N, T, X), "q": values(N, T, X)}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dims": {"": ("sample", "x")}}, r"`tensor` has 3 axes.*lists 2"),
        ({"dims": {"": ("time", "y", "x")}}, "one dimension must be `sample`"),
        ({"dims": {"": ("sample", "x", "x")}}, "lists a dimension twice"),
        ({"dims": {"": ("sample", "_", "x")}}, "removes an axis of length one"),
        ({"variables": ("v",)}, r"has no array `v`; it has t-coordinate \(5,\), tensor"),
        ({"coordinates": {"x": "v"}}, r"`--coordinate x=v`: .* has no array v"),
        ({"periods": {"y": 1.0}}, r"`--period y=1`: .* has no dimension y; it has time, x"),
        ({"periods": {"x": 0.7}}, "extend over 0.7"),
        ({"periods": {"x": 1.0}}, "have the period 0.8"),
        ({"attributes": {"Nu": 0.2}}, r"`--attribute Nu=0.2`: .* has 0.01"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_are_named(path, options, message):
    write(path, {"tensor": values(N, T, X), **grid(x=X, t=T)}, Nu=0.01)
    with (
        pytest.raises(ValueError, match=message)
        if "variables" not in options
        else pytest.raises(DataFileError, match=message)
    ):
        load(path, **options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"periods": ["x"]}, "expected a name and a value, as in `--period x=1.0`"),
        ({"periods": ["x=one"]}, "expected a number"),
        ({"periods": ["x=-1"]}, "expected a finite positive number"),
        ({"attributes": ["a=1", "a=2"]}, "a is given twice"),
        ({"variables": ["a,,b"]}, "expected names separated by commas"),
        ({"variables": ["a,b", "a"]}, "lists a twice"),
        ({"dims": ["sample,x", "sample,y"]}, "given twice"),
    ],
    ids=str,
)
def test_options_of_another_form_are_named(given, message):
    empty = dict.fromkeys(
        ("variables", "dims", "conditions", "coordinates", "edges", "periods", "attributes"), ()
    )
    with pytest.raises(ValueError, match=message):
        from_text(**{**empty, "faces": None, **given})


def test_options_without_a_meaning_are_refused(path):
    arrays = {"velocity": values(2, T, X, Y, 2), "t": np.arange(T) * 0.1}
    with pytest.raises(ValueError, match=r"`--faces` does not apply to .*incompressible flow"):
        load(write(path, arrays), faces="mean")


def test_nothing_but_a_store_of_ours_is_written_over(path, tmp_path, capsys):
    write(path, {"tensor": values(N, T, X), **grid(x=X, t=T)})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("dear")
    for output in (tmp_path / "mine", path):
        assert main(["import", str(path), "--output", str(output)]) == 1
        assert "plumbline did not write it" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "dear"
    for _ in range(2):
        assert main(["import", str(path), "--output", str(tmp_path / "out.zarr")]) == 0


MEASURE = """
import resource, sys
from pathlib import Path
from plumbline.storage.importing import import_file
import xarray, dask.array, zarr, h5py, scipy.io
from plumbline.datasets import _checks
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
import_file(sys.argv[1], Path(sys.argv[2]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_files_are_streamed(tmp_path):
    """Reading a file of 144 megabytes takes less than half that much memory."""
    path = tmp_path / "large.h5"
    with h5py.File(path, "w") as file:
        for name in ("density", "pressure"):
            array = file.create_dataset(name, (300, 10, 80, 75), "f4")
            for i in range(300):
                array[i] = np.full((10, 80, 75), i, "f4")
        file.update(grid(x=80, y=75, t=11))
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, path, tmp_path / "out.zarr"],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert float(run.stdout) < 72
    last = open_store(tmp_path / "out.zarr")["state"].isel(sample=-1)
    assert last.dims == ("time", "channel", "x", "y") and bool((last == 299).all())
