"""The data does not depend on the number of parts."""

import numpy as np
from example import ExampleSpec


def test_parts_are_those_of_the_whole():
    splits = {"train": 6, "validation": 2, "test": 2}
    whole = ExampleSpec(parts=1, splits=splits).draw_part(0)["state"].values
    parts = ExampleSpec(parts=2, splits=splits)
    np.testing.assert_array_equal(np.concatenate([parts.draw_part(i)["state"].values for i in (0, 1)]), whole)
