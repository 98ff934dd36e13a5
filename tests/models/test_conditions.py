"""Conditions that are vectors, fields and classes: shapes, standardisation, dropping, refusals."""

import numpy as np
import pytest
import torch
import xarray as xr

from plumbline.datasets._checks import checked, shared_dimensions
from plumbline.datasets._download import DataFileError
from plumbline.datasets.stored import StoredSpec
from plumbline.models import BuildContext
from plumbline.models._spaces import StandardisedCondition, batch_of, sample_shape
from plumbline.models.diffusion.diffusion import DiffusionSpec
from plumbline.models.fitted.fitted_gaussian import FittedGaussianSpec
from plumbline.models.predictive.regression import RegressionSpec
from plumbline.samplers import HeunSpec, SamplingTask

NETWORKS = {
    "unet": {"kind": "unet", "channels": [8, 16], "blocks": [1, 1], "embedding": 8},
    "dit": {"kind": "dit", "patch": 2, "width": 16, "blocks": 1, "heads": 2, "embedding": 8},
    "fno": {"kind": "fno", "width": 8, "modes": 3, "blocks": 1, "embedding": 8},
}
MLP = {"kind": "mlp"}
COUNT = 12


def fields(*leading: str, state=("x", "y"), grid=("x", "y"), label=True) -> xr.Dataset:
    """States and conditions on a grid of 8 x 4 points; the channels of the condition have their own units."""
    generator = np.random.default_rng(0)
    sizes = {"x": 8, "y": 4, "time": 2, "channel": 3, "level": 2}
    shapes = {"state": state, "condition": (*leading, *grid)}
    variables = {
        name: (("sample", *dims), generator.standard_normal((COUNT, *(sizes[d] for d in dims))))
        for name, dims in shapes.items()
    }
    data = xr.Dataset(variables)
    if leading:
        units = xr.DataArray(10.0 ** np.arange(sizes[leading[0]]), dims=leading[0])
        data["condition"] = (units * (data["condition"] + 3)).transpose(*data["condition"].dims)
    return data.assign(label=("sample", generator.integers(0, 4, COUNT))) if label else data


def built(data: xr.Dataset, kind="unet", **keys):
    torch.manual_seed(0)
    network = {**NETWORKS[kind], **keys.pop("network", {})}
    model = DiffusionSpec(network=network, **keys).build(BuildContext(data.isel(sample=[0])))
    model.prepare(batch_of(data))
    return model


@pytest.mark.parametrize(
    ("data", "shared"),
    [
        (fields(), 2),
        (fields("channel"), 2),
        (fields("channel", "level"), 2),
        (fields("channel", state=("time", "x"), grid=("x",)), 1),
        (fields(state=("time", "x"), grid=("x",)), 1),
        (fields(state=("channel", "x"), grid=("channel",)), 0),
        (fields(state=("time", "x"), grid=("time",)), 0),
        (fields(grid=("level",)), 0),
    ],
)
def test_a_condition_is_a_field_where_it_ends_with_the_grid(data, shared):
    assert shared_dimensions(data) == shared
    sample = sample_shape(data)
    shape = data["condition"].shape[1:]
    assert (sample.condition, sample.field, sample.shared) == (
        (0, shape, shared) if shared else (shape[0], (), 0)
    )


def test_a_periodic_dimension_of_any_name_is_a_grid():
    data = fields(grid=("level",), state=("level",))
    assert shared_dimensions(data) == 0
    data = data.assign_coords(level=("level", [0.0, 0.5], {"period": 1.0}))
    assert shared_dimensions(data) == 1 and sample_shape(data).periodic == (True,)


@pytest.mark.parametrize("leading", [(), ("channel",), ("channel", "level")])
def test_a_field_is_standardised_per_channel(leading):
    data = fields(*leading)
    sample = sample_shape(data)
    condition = StandardisedCondition(field=sample.field, shared=sample.shared)
    batch = batch_of(data)
    condition.fit_blocks([batch])
    (name, field), *others = condition.arguments(batch).items()
    assert (name, others) == ("field", []) and field.dtype == torch.float32
    axes = (0, *range(1 + len(leading), field.ndim))
    given = batch["condition"]
    expected = (given - given.mean(axes, keepdim=True)) / given.std(axes, keepdim=True)
    torch.testing.assert_close(field, expected.float())


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_model_trains_and_draws_with_a_field_and_a_class(kind, dropout):
    data = fields("channel")
    model = built(data, kind, condition_on=["condition", "label"], classes=4, condition_dropout=dropout)
    assert model.condition.dim == 4 + (dropout > 0)
    batch = batch_of(data)
    first, _ = model.loss(batch)
    first.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    torch.manual_seed(1)
    drawn = HeunSpec(steps=2).sample(model.eval(), SamplingTask(batch)).state
    for name in ("condition", "label"):
        # Another condition for the first half of the samples changes these and no others.
        changed = batch[name].clone()
        changed[: COUNT // 2] = (changed[: COUNT // 2] + 1) % 4 if name == "label" else -changed[: COUNT // 2]
        torch.manual_seed(1)
        other = HeunSpec(steps=2).sample(model, SamplingTask({**batch, name: changed})).state
        same = (other == drawn).flatten(1).all(1)
        assert same.tolist() == [False] * (COUNT // 2) + [True] * (COUNT // 2)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_a_field_of_one_dimension_conditions_a_trajectory_of_one(dimensions):
    data = fields("channel", state=("time", "x"), grid=("x",))
    spec = {"grid_dimensions": dimensions}
    if dimensions == 1:
        assert built(data, "fno", network=spec).denoiser.backbone.field_channels == 3
    else:
        with pytest.raises(ValueError, match="shares 1 dimensions with a sample of shape"):
            built(data, "fno", network=spec)


def test_conditions_are_dropped_for_whole_samples_and_in_training_only():
    model = built(fields("channel"), condition_on=["condition", "label"], classes=4, condition_dropout=0.5)
    batch = batch_of(fields("channel"))
    arguments, null = model.conditions(batch), model.null_conditions(batch)
    assert arguments["condition"][:, -1].eq(1).all() and arguments["condition"][:, :4].sum(1).eq(1).all()
    assert list(null) == list(arguments) and not any(value.any() for value in null.values())
    torch.manual_seed(0)
    many = {name: value.repeat(100, *(1,) * (value.ndim - 1)) for name, value in arguments.items()}
    dropped = model.condition.dropped(many, 0.3)
    kept = dropped["condition"][:, -1] == 1
    assert float(kept.float().mean()) == pytest.approx(0.7, abs=0.06)  # 1200 samples: four standard errors
    for name, value in dropped.items():
        assert torch.equal(value[kept], many[name][kept]) and not value[~kept].any()
    losses = []
    for training in (True, False):
        model.train(training)
        for seed in (0, 0):
            torch.manual_seed(seed)
            losses.append(float(model.loss(batch)[0].detach()))
    assert losses[0] == losses[1] != losses[2] == losses[3]


def test_without_new_keys_a_model_is_as_before():
    """The names of its weights, and the arguments of its denoiser."""
    data = fields(grid=("level",), label=False)
    model = built(data)
    names = [name for name in model.state_dict() if name.startswith("condition")]
    assert names == ["condition.space.mean", "condition.space.scale"]
    (argument,) = model.conditions(batch_of(data)).items()
    assert argument[0] == "condition" and argument[1].shape == (COUNT, 2)
    alone = built(data, condition_on=[])
    assert not alone.conditions(batch_of(data)) and not any("condition" in n for n in alone.state_dict())


def test_a_regression_takes_the_values_of_a_field():
    data = fields("channel")
    spec = RegressionSpec(
        network={"kind": "perceptron"}, likelihood={"kind": "independent"}, objective={"kind": "likelihood"}
    )
    model = spec.build(BuildContext(data.isel(sample=[0])))
    batch = {name: value.float() for name, value in batch_of(data).items()}
    model.prepare(batch)
    assert model.predict(batch)["state"].shape == data["state"].shape


@pytest.mark.parametrize("grid", [("x", "y"), ("channel", "x", "y")])
def test_a_store_provides_a_field(tmp_path, grid):
    data = fields(*grid[:-2]).rename(condition="permeability")
    data.to_zarr(tmp_path / "own.zarr")
    splits = {"train": 6, "validation": 2, "test": 2}
    spec = StoredSpec(
        path=str(tmp_path / "own.zarr"), rename={"permeability": "condition"}, parts=1, splits=splits
    )
    drawn = spec.draw_part(0)
    assert drawn["condition"].dims == ("sample", *grid) and drawn["condition"].dtype == np.float64
    assert sample_shape(drawn).field == drawn["condition"].shape[1:]


FIELD = fields()
NO_CONDITION = FIELD.drop_vars(["condition", "label"])


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: DiffusionSpec(network=MLP, classes=3), "give both or none"),
        (lambda: DiffusionSpec(network=MLP, condition_on=["label"]), "give both or none"),
        (lambda: DiffusionSpec(network=MLP, condition_on=["condition"] * 2), "names a variable twice"),
        (lambda: DiffusionSpec(network=MLP, condition_on=[], condition_dropout=0.1), "is empty"),
        (lambda: built(NO_CONDITION, condition_dropout=0.1), "no condition that could be dropped"),
        (lambda: built(NO_CONDITION, condition_on=["condition"]), "the dataset has no variable `condition`"),
        (lambda: built(FIELD, condition_on=["label"], classes=2), "a whole number from 0 to 1, found"),
        (
            lambda: DiffusionSpec(network=MLP).build(BuildContext(FIELD)),
            "`network`: `mlp` takes vectors as conditions",
        ),
        (
            lambda: FittedGaussianSpec().build(BuildContext(FIELD)),
            "`condition` is a field of shape .*use `diffusion` with a network",
        ),
        (
            lambda: checked(FIELD.rename(state="other").assign(state=FIELD["state"].rename(x="p", y="q")),
                            "here", np.asarray),
            "a field must end with the dimensions of the grid of `state`",
        ),
    ],
)  # fmt: skip
def test_conditions_that_do_not_fit_are_refused(build, words):
    with pytest.raises((ValueError, DataFileError), match=words):
        build()
