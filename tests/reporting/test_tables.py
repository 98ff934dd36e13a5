"""Values of the report: means, intervals, the best, warnings."""

import numpy as np
import pytest

from plumbline.reporting.tables import (
    as_markdown,
    checkpoint_table,
    cost_table,
    metric_table,
    number,
    ordered_methods,
    warnings_of,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1.0, "1"), (41.0, "41"), (123.4, "123"), (0.01234, "0.0123"), (5.842e-8, "5.84×10⁻⁸"),
     (-2.5, "-2.50"),
     (np.nan, "–"), (1.5e6, "1.50×10⁶"), (0.009997, "0.0100"), (9.999e-10, "1.00×10⁻⁹"), (-0.99996, "-1.00"),
     (12345.6, "12346")],
)  # fmt: skip
def test_numbers(value, text):
    assert number(value) == text


def test_mean_deviation_and_interval(comparison):
    """Two values x (1 -+ 0.01): std 0.01 sqrt(2) x; half the interval is 12.706 stds over sqrt(2)."""
    table = metric_table(comparison)
    place = [c.name for c in table.columns].index("sliced_wasserstein")
    cell = table.rows["projected"][place]
    assert cell.mean == pytest.approx(0.3)
    assert cell.std == pytest.approx(0.3 * 0.01 * np.sqrt(2))
    assert cell.half_interval == pytest.approx(12.706 * 0.3 * 0.01, rel=1e-3)


def test_real_data_stands_first_then_the_farthest(comparison):
    assert ordered_methods(comparison) == ["real", "unconstrained", "collapsed", "projected"]
    assert list(metric_table(comparison).rows) == ["real", "unconstrained", "collapsed", "projected"]


def marks(table):
    return {
        column.name: [g for g, cells in table.rows.items() if cells[i].best]
        for i, column in enumerate(table.columns)
    }


def test_what_no_other_is_better_than_is_marked_and_never_real_data(comparison):
    found = marks(metric_table(comparison))
    assert found["distance_elements"] == ["projected"]
    assert found["recall"] == ["unconstrained"]
    assert found["memorisation"] == []
    # A mark is independent of the floor: a separate note lists methods that are nearer than real data.
    assert found["sliced_wasserstein"] == ["collapsed"]
    notes = metric_table(comparison).notes()
    assert notes[0].startswith(
        "★: no other method is significantly better, by a t test of paired differences"
    )
    assert "Within the floor of real data: collapsed (precision, sliced Wasserstein distance)." in notes


def with_values(comparison, values, **attrs):
    """The comparison with a metric of these values (method, seed)."""
    attributes = {"better": "lower", "long_name": "metric", "units": "1"} | attrs
    return comparison.assign(metric=(("methods", "seed"), np.asarray(values, float), attributes))


def test_what_cannot_be_told_apart_is_not_marked(comparison):
    """The differences are as large as the std over seeds."""
    known = with_values(comparison, [[1, 1], [1.0, 1.2], [1.1, 1.0], [1.3, 1.1]])
    table = metric_table(known, ["metric"])
    assert marks(table)["metric"] == []
    assert "Not distinguishable: metric." in table.notes()


def test_a_noisier_method_is_not_marked_more_easily(comparison):
    """b is much worse than a, but with a std as large as its distance to a."""
    known = with_values(comparison, [[1, 1], [1.0, 1.001], [2.0, 6.0], [9.0, 9.001]])
    assert marks(metric_table(known, ["metric"]))["metric"] == ["unconstrained", "projected"]
    steady = with_values(comparison, [[1, 1], [1.0, 1.001], [4.0, 4.001], [9.0, 9.001]])
    assert marks(metric_table(steady, ["metric"]))["metric"] == ["unconstrained"]


def feasibility(comparison, real, violations, distances):
    attrs = {"constraint": "elements", "tolerance": 1e-6}
    at = lambda values: np.repeat(np.array([values]).T, 2, 1)  # noqa: E731
    known = with_values(comparison, at([0, *distances]), **attrs)
    attributes = {"better": "lower", "long_name": "largest relative violation", "units": "1", **attrs}
    return known.assign(
        relative_violation_elements=(("methods", "seed"), at([real, *violations]), attributes)
    )


def test_rounding_is_not_better_than_rounding(comparison):
    """Two methods within the tolerance are tied, whatever their rounding; both are better than the third."""
    known = feasibility(comparison, 2e-8, [3e-2, 2e-8, 4e-8], [6e-4, 8.57e-9, 1.11e-8])
    found = marks(metric_table(known, ["metric", "relative_violation_elements"]))
    assert {name: sorted(methods) for name, methods in found.items()} == {
        name: ["collapsed", "projected"] for name in ("metric", "relative_violation_elements")
    }


def test_where_data_itself_is_infeasible_no_method_is_marked_for_obeying(comparison):
    known = feasibility(comparison, 1e-2, [3e-2, 2e-8, 4e-8], [6e-4, 8.57e-9, 1.11e-8])
    table = metric_table(known, ["metric"])
    assert marks(table)["metric"] == []
    assert "Not marked, since the data itself violates the constraint: metric." in table.notes()


def test_with_one_seed_the_test_samples_decide(comparison):
    """Replicates over ten groups: a difference is detected if all groups share it, not if a few cause it."""
    one = comparison.isel(seed=[0])
    known = with_values(one, [[1], [1.0], [2.0], [1.1]])
    all_groups = np.linspace(-1, 1, 10)
    replicates = np.array([1.0, 1.0, 2.0, 1.1])[:, None] + 0.01 * all_groups
    table = metric_table(
        known.assign(replicates_metric=(("methods", "seed", "replicate"), replicates[:, None])), ["metric"]
    )
    assert marks(table)["metric"] == ["unconstrained"]
    assert "over test samples alone" in table.notes()[0]
    replicates = np.array([1.0, 1.0, 2.0, 1.1])[:, None] + 3 * np.eye(4, 10)
    table = metric_table(
        known.assign(replicates_metric=(("methods", "seed", "replicate"), replicates[:, None])), ["metric"]
    )
    assert marks(table)["metric"] == []
    assert (
        marks(metric_table(known, ["metric"]))["metric"] == []
    )  # without replicates no difference can be detected


def test_what_was_not_measured_is_a_dash(comparison):
    assert {cell.text for cell in cost_table(comparison).rows["real"]} == {"–"}


def test_what_may_be_chance_is_not_warned_of(comparison):
    """The floor is the distance of one real set: a perfect method is below it in one of two runs."""
    real = float(comparison["sliced_wasserstein"].sel(methods="real").mean())
    near = comparison.copy(deep=True)
    near["sliced_wasserstein"].loc[{"methods": "collapsed"}] = 0.7 * real
    assert not any("below that of real data" in w for w in warnings_of(near))


def test_warnings(comparison):
    found = warnings_of(comparison)
    assert all(w.startswith("collapsed") for w in found)
    assert any("below that of real data" in w for w in found)
    assert any("collapsed to a part" in w for w in found)
    assert any("may be copies" in w for w in found)


def test_what_real_data_is_no_floor_of_has_a_best_one_and_no_warning(comparison):
    """A violation of levels that real data does not have to reach."""
    attrs = {"better": "lower", "long_name": "shortfall", "units": "1", "floor": False}
    values = np.repeat([[0.9, 0.5, 0.1, 0.6]], 2, 0).T
    known = comparison.assign(largest_violation=(("methods", "seed"), values, attrs))
    table = metric_table(known, ["largest_violation"])
    assert [g for g, (cell,) in table.rows.items() if cell.best] == ["projected"]
    assert not [warning for warning in warnings_of(known) if "shortfall" in warning]


def test_accuracy_without_variety_is_called_collapse(comparison):
    per_seed = lambda values: (  # noqa: E731
        ("methods", "seed"),
        np.repeat([values], 2, 0).T,
        {"better": "lower", "long_name": "x", "units": "1"},
    )
    known = comparison.assign(
        label_accuracy=per_seed([0.95, 0.9, 0.99, 0.99]),
        recall_over_real=per_seed([1.0, 0.9, 0.9, 0.1]),
        collapsed=per_seed([0.0, 0.0, 0.0, 1.0]),
    )
    found = [warning for warning in warnings_of(known) if "not success" in warning]
    assert len(found) == 1
    assert found[0].startswith("collapsed: its samples match their requested labels more often (0.990)")


def test_markdown(comparison):
    text = as_markdown(metric_table(comparison, ["sliced_wasserstein", "recall"])).splitlines()
    assert text[0] == "| method | sliced Wasserstein distance | recall |"
    assert text[2].startswith("| real data (floor) | 0.200 ± 0.0028 |")
    assert "**0.0500 ± 7.1×10⁻⁴**" in text[4]
    with pytest.raises(ValueError, match="no metric speed; there are"):
        metric_table(comparison, ["speed"])


def test_the_table_at_checkpoints_has_the_time_of_the_training_up_to_each(comparison):
    with pytest.raises(ValueError, match="no method was evaluated at checkpoints"):
        checkpoint_table(comparison)
    attrs = {"long_name": "distance to elements", "units": "mol", "better": "lower"}
    judged = ["projected-step5", "projected-step10"]
    at = comparison.assign_coords(judged=judged).assign(
        checkpoint_distance_elements=(("judged", "seed"), [[0.4, 0.6], [0.2, 0.2]], attrs),
        checkpoint_method=("judged", ["projected"] * 2),
        checkpoint_step=("judged", [5, 10]),
        checkpoint_seconds=(("judged", "seed"), [[30.0, 34.0], [60.0, 64.0]]),
    )
    assert as_markdown(checkpoint_table(at, ["distance_elements"])).splitlines() == [
        "| method | training time (s) | distance to elements (mol) |",
        "|---|---:|---:|",
        "| projected, step 5 | 32 ± 2.8 | 0.500 ± 0.14 |",
        "| projected, step 10 | 62 ± 2.8 | 0.200 |",
    ]
    with pytest.raises(ValueError, match="no metric speed; there are distance_elements"):
        checkpoint_table(at, ["speed"])
