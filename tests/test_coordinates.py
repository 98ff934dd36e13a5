"""Coordinates are read by name: accepted layouts give the right distance, and others are refused."""

import numpy as np
import pytest
import torch
import xarray as xr

from plumbline.constraints.burgers_residual import BurgersResidualSpec
from plumbline.constraints.divergence_free import DivergenceFreeSpec
from plumbline.constraints.kolmogorov_residual import KolmogorovResidualSpec
from plumbline.coordinates import CoordinateError
from plumbline.datasets._checks import SECONDS, as_numbers
from plumbline.datasets.burgers import BurgersSpec
from plumbline.metrics import EvaluationContext
from plumbline.metrics.energy_spectrum import EnergySpectrumSpec

SPLITS = {"train": 4, "validation": 2, "test": 2}


@pytest.fixture(scope="module")
def burgers():
    return BurgersSpec(points=16, times=8, duration=1.0, splits=SPLITS, parts=1).draw_part(0)


def dates(data, unit="s"):
    """Dates with the same spacing, in units of time, as the times of the data."""
    seconds = data["time"].values * SECONDS[unit]
    return np.datetime64("2020-01-01", "ns") + (seconds * 1e9).astype("timedelta64[ns]")


def distance(data):
    constraint = BurgersResidualSpec().build(data)
    return float(constraint.distance(torch.as_tensor(data["state"].values)).mean())


def test_every_second_state_with_its_time_is_still_a_solution(burgers):
    assert distance(burgers) < 1e-7
    assert distance(burgers.isel(time=slice(None, None, 2))) < 1e-7


@pytest.mark.parametrize("unit", ["s", "min", "h", "D"])
def test_dates_are_times_in_the_unit_of_the_viscosity(burgers, unit):
    dated = burgers.assign_coords(time=dates(burgers, unit))
    assert distance(as_numbers(dated, "own.zarr", unit)) < 1e-7
    if unit != "s":
        assert distance(as_numbers(dated, "own.zarr", "s")) > 1e-3


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.isel(time=[0, 1, 3, 4, 7]),
         "equal, increasing steps of 'time', found steps from 0.125 to 0.375"),
        (lambda d: d.isel(time=slice(None, None, -1)), "equal, increasing steps of 'time'"),
        (lambda d: d.isel(time=[0]), "two values of 'time'"),
        (lambda d: d.drop_vars("time"), "needs the coordinate 'time'"),
        (lambda d: d.assign_coords(time=np.datetime64("2020", "ns") + np.arange(8)),
         "needs numbers as coordinate"),
        (lambda d: d.transpose("sample", "x", "time"),
         r"found \(x, time\): set `dataset.dimensions` to \[time, x\]"),
        (lambda d: d.rename(x="position"), r"found \(time, position\): rename them in the file"),
        (lambda d: d.isel(time=0), r"needs samples with the dimensions \(time, x\), found \(x\)"),
        (lambda d: d.drop_vars("x"), "`dataset.periods.x`"),
        (lambda d: d.drop_attrs(deep=False), "`dataset.attributes.viscosity`"),
        (lambda d: d.assign_attrs(viscosity=-0.01),
         "a positive number as attribute 'viscosity' of the dataset, found -0.01"),
        (lambda d: d.assign_coords(x=d["x"].assign_attrs(period="ten")),
         "a positive number as period of 'x', found 'ten'"),
        (lambda d: d.assign_coords(x=d["x"].assign_attrs(period=np.inf)),
         "a positive number as period of 'x', found inf"),
        (lambda d: as_numbers(d.assign_coords(time=dates(d)), "own.zarr"),
         "the times of the data are dates, .* `dataset.time_unit`"),
        (lambda d: d.assign_attrs(viscosity="thick"), "a number as attribute 'viscosity'"),
        (lambda d: d.isel(x=slice(0, 15)), "span a period of 9.375"),
        (lambda d: d.isel(x=[0, 1, 2, 4, 8]), "equal, increasing steps of 'x'"),
    ],
)  # fmt: skip
def test_what_the_equation_cannot_be_read_from_is_refused(burgers, change, said):
    with pytest.raises(CoordinateError, match=said):
        BurgersResidualSpec().build(change(burgers))


def velocities(**periods):
    x = {name: (name, np.arange(8) / 8, {"period": period}) for name, period in periods.items()}
    dims = ("sample", "time", "component", "x", "y")
    return xr.Dataset({"state": (dims, np.zeros((2, 3, 2, 8, 8), "f4"))}, coords=x)


@pytest.mark.rejects
def test_velocities_are_told_from_other_fields():
    assert DivergenceFreeSpec().build(velocities(x=1.0, y=1.0)).length == 1.0
    right = velocities(x=1.0, y=1.0)
    for data, said in [
        (velocities(x=1.0), "`dataset.periods.y`"),
        (right.rename(component="channel"), r"end with \(component, x, y\), found \(time, channel, x, y\)"),
        (right.transpose(..., "component"), r"set `dataset.dimensions` to \[time, component, x, y\]"),
        (right.isel(component=[0]), "two components of a velocity, found 1"),
        (
            right.assign_coords(component=["Vy", "Vx"]),
            "the velocity along x first .* found the components Vy, Vx",
        ),
    ]:
        with pytest.raises(CoordinateError, match=said):
            DivergenceFreeSpec().build(data)
    with pytest.raises(CoordinateError, match="needs the coordinate 'time'"):
        KolmogorovResidualSpec().build(right)
    flow = {"viscosity": 0.1, "drag": 0.1, "forcing_amplitude": 1.0, "forcing_wavenumber": 2.5}
    timed = right.assign_coords(time=[0.0, 0.1, 0.2]).assign_attrs(flow)
    with pytest.raises(
        CoordinateError, match=r"a positive integer as attribute 'forcing_wavenumber' .* found 2.5"
    ):
        KolmogorovResidualSpec().build(timed)
    assert KolmogorovResidualSpec().build(timed.assign_attrs(forcing_wavenumber=4)) is not None


@pytest.mark.rejects
def test_a_spectrum_is_taken_along_the_last_dimensions(burgers):
    data = burgers.transpose("sample", "x", "time")
    with pytest.raises(CoordinateError, match=r"set `dataset.dimensions` to \[time, x\]"):
        EnergySpectrumSpec().evaluate(data, data, EvaluationContext())
