"""Ranges and days that a dataset cannot be drawn for are refused when the study is read."""

import datetime

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from plumbline.datasets.combustion import THERMODYNAMICS, CombustionSpec
from plumbline.datasets.reactor import ReactorSpec
from plumbline.datasets.sp500_returns import SP500ReturnsSpec

SPLITS = {"train": 6, "validation": 2, "test": 2}


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"temperature": (20, 25)}, "`temperature` must lie between 1000 and 2500 K where mixtures react"),
        ({"temperature": (1500, 6000)}, "`temperature` .* found 1500 to 6000"),
        (
            {"temperature": (250, 600), "equilibrium_fraction": 1},
            "`temperature` must lie between 300 and 3000 K, the",
        ),
        ({"pressure": (0.5, 10)}, r"`pressure` must lie between 1333 and 1\.01325e\+06 Pa"),
        ({"pressure": (1e5, 1e12)}, "`pressure` "),
        ({"equivalence_ratio": (1e-12, 1)}, "`equivalence_ratio` must lie between 0.1 and 5"),
        ({"equivalence_ratio": (1, 1e6)}, "`equivalence_ratio` "),
        ({"species": ("ch4", "O2")}, r"`species`: 'ch4' is not in GRI-Mech 3\.0 \(did you mean 'CH4'\?\)"),
        ({"species": ("CH4", "AR")}, "`species`: 'AR' contains none of the balanced elements C, H, O, N"),
        ({"species": ("CH4", "CH4")}, "`species` must list species, each once"),
    ],
)
def test_mixtures_outside_their_mechanism_are_refused(values, found):
    with pytest.raises(ValidationError, match=found):
        CombustionSpec(splits=SPLITS, **values)


def test_the_range_of_the_thermodynamic_data_is_canteras():
    import cantera

    gas = cantera.Solution("gri30.yaml")
    assert (gas.min_temp, gas.max_temp) == THERMODYNAMICS


def test_a_mixture_that_cantera_finds_no_state_for_is_named():
    spec = CombustionSpec(splits=SPLITS, parts=1, reaction_time=(1e100, 1e300), equilibrium_fraction=0)
    with pytest.raises(ValueError, match="Cantera finds no state for sample 0: narrow `temperature`"):
        spec.draw_part(0)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"temperature": (20, 200)}, "`temperature` must lie between 275 and 1000 K, found 20 to 200"),
        ({"temperature": (400, 4000)}, "`temperature` "),
        ({"feed": (1e-30, 1e30)}, "`feed`, .* outside the range of single precision"),
        ({"activation_energy": 1e7}, "`activation_energy`.* outside the range of single precision"),
    ],
)
def test_reactors_beyond_their_range_are_refused(values, found):
    with pytest.raises(ValidationError, match=found):
        ReactorSpec(splits=SPLITS, **values)


@pytest.mark.parametrize("written", ["2000-01-03", "'2000-01-03'", "2000-01-03 00:00:00"])
def test_a_day_is_the_same_quoted_or_not(written):
    spec = SP500ReturnsSpec(splits=SPLITS, **yaml.safe_load(f"first_day: {written}"))
    assert spec.first_day == "2000-01-03"
    assert spec.digest() == SP500ReturnsSpec(splits=SPLITS).digest()


@pytest.mark.parametrize(
    "day",
    ["yesterday", "03/01/2000", "20000103", 20000103, "2000-13-01", "2000-1-3", "", 2000.5, True,
     datetime.datetime(2000, 1, 3, 12)],
)  # fmt: skip
def test_what_is_no_day_is_refused(day):
    with pytest.raises(ValidationError, match="expected a date such as 2000-01-31"):
        SP500ReturnsSpec(splits=SPLITS, first_day=day)


def test_a_day_from_which_too_few_follow_is_named():
    with pytest.raises(
        ValueError, match=r"`first_day`: from 2022-12-20 on there are 5 returns, .* ask for 10"
    ):
        SP500ReturnsSpec(splits=SPLITS, parts=1, first_day="2022-12-20").draw_part(0)
    early = SP500ReturnsSpec(splits=SPLITS, parts=1, first_day="1950-01-01").draw_part(0)
    assert np.isfinite(early["state"]).all()
