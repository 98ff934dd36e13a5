"""Datasets: samples do not depend on the number of parts, and each dataset obeys its physics."""

import numpy as np
import pytest
import torch
import xarray as xr

from plumbline.constraints.divergence_free import DivergenceFreeSpec
from plumbline.constraints.linear_equality import LinearEqualitySpec
from plumbline.constraints.sum import SumSpec
from plumbline.constraints.tiling import TilingSpec
from plumbline.datasets import DatasetSpec
from plumbline.datasets._random import normals, uniforms
from plumbline.datasets.accretion import AccretionSpec
from plumbline.datasets.burgers import BurgersSpec
from plumbline.datasets.combustion import CombustionSpec
from plumbline.datasets.darcy import DarcySpec
from plumbline.datasets.darcy_wells import DarcyWellsSpec
from plumbline.datasets.galaxies import PROPOSALS, GalaxiesSpec
from plumbline.datasets.gaussian import GaussianSpec
from plumbline.datasets.kolmogorov import KolmogorovSpec
from plumbline.datasets.stored import StoredSpec
from plumbline.datasets.tilings import TilingsSpec
from plumbline.storage.store import write_store

SPLITS = {"train": 7, "validation": 3, "test": 3}
SMALL = [
    BurgersSpec(points=16, times=4, duration=1.0, splits=SPLITS),
    CombustionSpec(splits=SPLITS),
    DarcySpec(points=9, splits=SPLITS),
    DarcyWellsSpec(points=8, splits=SPLITS),
    GaussianSpec(splits=SPLITS),
    KolmogorovSpec(points=16, times=2, start=0.1, splits=SPLITS),
    TilingsSpec(tile=8, splits=SPLITS),
    AccretionSpec(points=16, splits=SPLITS),
    GalaxiesSpec(points=16, apart=3.0, splits=SPLITS),
]


@pytest.mark.parametrize("spec", SMALL, ids=lambda s: s.kind)
def test_any_number_of_parts_gives_the_same_samples(spec: DatasetSpec):
    def whole(parts: int) -> xr.Dataset:
        cut = spec.model_copy(update={"parts": parts})
        drawn = [cut.draw_part(i) for i in range(parts)]
        return xr.concat(
            drawn, dim="sample", data_vars="minimal", coords="minimal", compat="override", join="exact"
        )

    one = whole(1)
    for parts in (2, 5):
        other = whole(parts)
        assert np.array_equal(one["split"], other["split"])
        # Rounding may depend on a sample's position in its batch: by one unit in single precision.
        np.testing.assert_allclose(one["state"], other["state"], rtol=3e-7, atol=1e-7)
    assert one["split"].values.tolist() == ["train"] * 7 + ["validation"] * 3 + ["test"] * 3
    assert one["state"].dims[0] == "sample"
    assert "units" in one["state"].attrs


@pytest.mark.parametrize("spec", SMALL, ids=lambda s: s.kind)
def test_a_part_is_drawn_in_blocks_of_bounded_size(spec: DatasetSpec, monkeypatch):
    spec = spec.model_copy(update={"parts": 1})
    size = spec.sample_bytes()
    monkeypatch.setattr(DatasetSpec, "block_bytes", 5 * size)
    blocks, whole = list(spec.draw_part_in_blocks(0)), spec.draw_part(0)
    assert [block.sizes["sample"] for block in blocks] == [5, 4, 4]
    for block in blocks:
        along = [v for v in block.data_vars.values() if "sample" in v.dims]
        assert sum(v.nbytes for v in along) == size * block.sizes["sample"]
    for name, variable in whole.data_vars.items():
        if "sample" in variable.dims:
            found = np.concatenate([block[name].values for block in blocks])
            np.testing.assert_allclose(found, variable.values, rtol=3e-7, atol=1e-7)


@pytest.mark.parametrize("spec", SMALL, ids=lambda s: s.kind)
def test_another_seed_gives_other_samples(spec):
    other = spec.model_copy(update={"seed": 1})
    assert not np.allclose(spec.draw_part(0)["state"], other.draw_part(0)["state"])


def test_burgers_starts_in_the_unit_interval_and_obeys_the_maximum_principle():
    spec = BurgersSpec(points=64, times=16, splits=SPLITS, parts=1)
    start = spec.initial_conditions(np.arange(13))
    np.testing.assert_allclose(start.min(1), 0, atol=1e-14)
    np.testing.assert_allclose(start.max(1), 1, atol=1e-14)
    state = spec.draw_part(0)["state"]
    # A truncated Fourier series overshoots a little at a front.
    assert state.min() > -0.02
    assert state.max() < 1.02
    assert (state.std("x").diff("time") < 1e-4).all()


def test_burgers_initial_conditions_have_the_matern_correlation():
    """E[f(x) f(x + r)] equals the Matern function at smoothness 3/2, before scaling to [0, 1].

    With 4,000 fields the estimate's standard error is under 0.02; the bound of 0.1 is five of them.
    """
    spec = BurgersSpec(points=128, length=20.0, splits=SPLITS)
    field = spec.initial_conditions(np.arange(4000))
    field = (field - field.mean(1, keepdims=True)) / field.std(1, keepdims=True)
    separation = 20.0 / 128 * np.arange(8)
    found = [(field * np.roll(field, -s, 1)).mean() for s in range(8)]
    r = np.sqrt(3) * separation
    # Removing each field's mean lowers the correlation by the mean of the Matern function, about 0.11.
    matern = (1 + r) * np.exp(-r)
    mean = (np.sqrt(3) * 0 + 4 / np.sqrt(3)) / 20.0
    assert np.abs(found - (matern - mean) / (1 - mean)).max() < 0.1


def test_combustion_conserves_elements_exactly_and_nearly_all_of_the_feed():
    data = CombustionSpec(splits={"train": 40, "validation": 2, "test": 2}, parts=1).draw_part(0)
    constraint = LinearEqualitySpec(matrix="element_matrix", target="condition").build(data).bind(data)
    assert (constraint.violation(torch.as_tensor(data["state"].values)) < 1e-7).all()
    inventory = data["condition"].to_pandas()
    # Air has 3.76 nitrogen molecules per oxygen molecule, methane four hydrogen atoms per carbon atom. The
    # minor species that are left out contribute a few percent at most.
    np.testing.assert_allclose(inventory["N"] / (2 * 3.76), inventory["O"] / 2, rtol=0.02)
    np.testing.assert_allclose(inventory["H"], 4 * inventory["C"], rtol=0.2)
    assert (data["state"] >= 0).all()


def test_combustion_equilibrium_is_canteras():
    import cantera

    spec = CombustionSpec(splits=SPLITS, parts=1, equilibrium_fraction=1.0)
    data = spec.draw_part(0)
    gas = cantera.Solution("gri30.yaml")
    ratio, temperature, pressure = uniforms(0, np.arange(1), 5)[0, :3]
    gas.TP = 1500 + 900 * temperature, np.exp(np.log(5e4) + np.log(20) * pressure)
    gas.set_equivalence_ratio(0.5 + 1.3 * ratio, "CH4", "O2:1, N2:3.76")
    gas.equilibrate("TP")
    found = data["state"][0].to_pandas()
    for a, b in (("CO2", "CO"), ("H2O", "H2"), ("NO", "N2")):
        assert found[a] / found[b] == pytest.approx(gas[a].X[0] / gas[b].X[0], rel=1e-4)


def test_kolmogorov_velocity_is_divergence_free():
    data = KolmogorovSpec(points=32, times=2, start=0.2, splits=SPLITS, parts=1).draw_part(0)
    constraint = DivergenceFreeSpec().build(data)
    assert (constraint.violation(torch.as_tensor(data["state"].values)) < 1e-5).all()


def test_kolmogorov_velocities_can_be_free_of_divergence_on_a_staggered_grid():
    """The projection by backward differences changes velocities by their discretisation error only."""
    values = {"points": 32, "times": 2, "start": 0.2, "splits": SPLITS, "parts": 1}
    spectral, backward = (
        KolmogorovSpec(**values, derivative=derivative).draw_part(0)
        for derivative in ("spectral", "backward")
    )
    constraint = DivergenceFreeSpec(derivative="backward")
    states = [torch.as_tensor(data["state"].values).double() for data in (spectral, backward)]
    before, after = (constraint.build(spectral).violation(x) for x in states)
    assert float(after.max()) < 1e-5 < 1e-2 < float(before.min())
    change = (states[1] - states[0]).norm() / states[0].norm()
    assert 0.01 < float(change) < 0.3


def test_kolmogorov_starts_at_its_top_speed():
    from plumbline.solvers import kolmogorov

    spec = KolmogorovSpec(points=32, splits=SPLITS)
    vorticity = torch.from_numpy(spec.initial_vorticities(np.arange(3)))
    speed = kolmogorov.velocity(vorticity, length=2 * np.pi).norm(dim=1).amax((1, 2))
    torch.testing.assert_close(speed, torch.full((3,), 3.0, dtype=torch.float64))


def test_gaussian_moments():
    """20,000 samples per distribution, five standard errors on 72 values: a false alarm in 24,000 runs."""
    count = 20_000
    spec = GaussianSpec(splits={"train": count, "validation": 2, "test": count}, parts=1)
    data = spec.draw_part(0)
    mean, covariance, matrix, target = spec.moments()
    free = data["state"].values[data["split"].values == "train"]
    held = data["state"].values[data["split"].values == "test"]
    for found, m, c in (
        (free, mean, covariance),
        (held, data["conditional_mean"], data["conditional_covariance"]),
    ):
        std = np.sqrt(np.diag(c))
        assert (np.abs(found.mean(0) - m) < 5 * std / count**0.5).all()
        bound = 5 * np.sqrt((np.outer(std, std) ** 2 + np.asarray(c) ** 2) / count)
        assert (np.abs(np.cov(found.T) - c) < bound + 1e-6).all()
    np.testing.assert_allclose(held @ matrix.T, np.tile(target, (count, 1)), atol=1e-5)


def test_streams_do_not_depend_on_where_they_are_cut():
    whole = uniforms(3, np.arange(10), 7)
    assert np.array_equal(whole[4:9], uniforms(3, np.arange(4, 9), 7))
    assert len(np.unique(whole)) == whole.size
    with pytest.raises(ValueError, match="consecutive"):
        uniforms(0, np.array([0, 2]), 3)


def test_normal_stream():
    """A million values: mean and variance within five standard errors, a false alarm in 870,000 runs."""
    drawn = normals(1, np.arange(1000), 1000).ravel()
    assert abs(drawn.mean()) < 5e-3
    assert abs(drawn.var() - 1) < 5 * np.sqrt(2e-6)


def test_a_stored_dataset_comes_back_in_another_order(tmp_path):
    data = SMALL[0].draw_part(0)
    write_store(data.drop_vars("split"), tmp_path / "own.zarr")
    spec = StoredSpec(
        path=str(tmp_path / "own.zarr"),
        attributes={"viscosity": 0.05},
        parts=1,
        splits={"train": 3, "validation": 2, "test": 2},
    )
    drawn = spec.draw_part(0)
    assert drawn.attrs["viscosity"] == 0.05
    originals = {row.tobytes() for row in data["state"].values}
    assert {row.tobytes() for row in drawn["state"].values} <= originals
    with pytest.raises(ValueError, match="lower them"):
        spec.model_copy(update={"splits": SMALL[0].splits}).draw_part(0)


@pytest.mark.parametrize("values", ["binary", "grey"])
def test_tilings_repeat_one_texture_that_is_periodic_itself(values):
    spec = TilingsSpec(tile=16, values=values, splits=SPLITS | {"train": 200}, parts=1)
    data = spec.draw_part(0)
    x = torch.as_tensor(data["state"].values)
    constraint = TilingSpec().build(data)
    assert float(constraint.distance(x).max()) == 0.0
    assert ((x >= 0) & (x <= 1)).all()
    assert (set(x.unique().tolist()) == {0.0, 1.0}) == (values == "binary")
    # The first and the last point of the process coincide.
    torch.testing.assert_close(x[:, 0, :16], x[:, 15, :16])
    # By symmetry the mean is a half. A texture has about two free signs: 206 of them leave an error of 0.03.
    assert float(x.mean()) == pytest.approx(0.5, abs=0.12)
    assert float(x.flatten(1).std(0).mean()) > 0.3


def test_accretion_flows_have_one_brightness_and_the_shapes_asked_for():
    spec = AccretionSpec(points=64, splits=SPLITS | {"train": 200}, parts=1)
    data = spec.draw_part(0)
    x = torch.as_tensor(data["state"].values)
    assert float(SumSpec(total=120.0).build(data).violation(x).max()) < 1e-6
    assert (x >= 0).all()
    # The hole in the centre is dark; the ring, at 0.35 to 0.6 of half the side, is bright.
    middle, ring = x[:, 29:35, 29:35].mean(), x[:, 31:33, 12:22].mean()
    assert ring > 5 * middle
    smooth = spec.model_copy(update={"turbulence": 0.0}).draw_part(0)["state"].values
    assert np.abs(np.diff(smooth, axis=2)).mean() < np.abs(np.diff(data["state"].values, axis=2)).mean()


def test_the_turbulence_has_unit_variance_and_the_spectrum_asked_for():
    n, count = 32, 400
    fields = AccretionSpec(points=n, splits=SPLITS)._field(
        normals(3, np.arange(count), n * n).reshape(-1, n, n)
    )
    # A few large waves carry the variance: 400 fields estimate it to a few per cent.
    assert fields.var() == pytest.approx(1.0, rel=0.2)
    power = (np.abs(np.fft.fft2(fields)) ** 2).mean(0)
    assert power[0, 8] / power[0, 2] == pytest.approx((8 / 2) ** -3.0, rel=0.5)


def test_galaxies_are_as_many_as_asked_for_and_apart():
    """Positions are recomputed from the generator's random numbers; images must be bright there."""
    spec = GalaxiesSpec(points=64, count=3, most=9, splits=SPLITS | {"train": 200}, parts=1)
    data = spec.draw_part(0)
    assert ((data["state"] >= 0) & (data["state"] <= 1)).all()
    np.testing.assert_array_equal(np.unique(data["label"]), np.arange(3, 10))
    numbers = uniforms(5, np.arange(200), 8 * 2 * PROPOSALS).reshape(200, 8, -1)
    places = spec._places(numbers)
    assert ((places >= 0) & (places < 64) & (places == np.floor(places))).all()
    apart = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1)[:, *np.triu_indices(8, 1)]
    assert apart.min() > spec.apart
    exactly = spec.model_copy(update={"count": 8, "most": None}).draw_part(0)
    assert (exactly["label"] == 8).all()


def test_a_galaxy_stands_out_of_the_background():
    """At least 15 dB where a galaxy was placed; an image without galaxies is background alone."""
    one, none = (
        GalaxiesSpec(points=64, count=count, splits=SPLITS | {"train": 50}, parts=1)
        .draw_part(0)["state"]
        .values
        for count in (1, 0)
    )
    contrast = [(x.max((1, 2)) - np.median(x, (1, 2))) / x.std((1, 2)) for x in (one, none)]
    assert np.median(contrast[0]) > 2 * np.median(contrast[1])


@pytest.mark.rejects
def test_fewer_at_most_than_at_least_is_refused():
    with pytest.raises(ValueError, match="`most` must be at least `count`, found 3 and 8"):
        GalaxiesSpec(count=8, most=3, splits=SPLITS)


def test_samples_of_another_shape_are_refused_by_the_key_that_asked_for_them():
    spec = GalaxiesSpec(points=16, count=1, parts=1, splits={"train": 2, "validation": 2, "test": 2})
    assert spec.draw_matching("test", (16, 16), "dataset").sizes["sample"] == 2
    with pytest.raises(
        ValueError,
        match=r"`sets.new.dataset`: `galaxies` has samples of shape \(16, 16\), but .* \(8, 8\)",
    ):
        spec.draw_matching("test", (8, 8), "sets.new.dataset")
