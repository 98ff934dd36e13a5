"""Distributions check their arguments here, whatever ran before: `torch.compile` turns the checks off."""

from collections.abc import Iterator

import pytest
from torch.distributions import Distribution


@pytest.fixture(autouse=True)
def validation() -> Iterator[None]:
    before = Distribution._validate_args
    Distribution.set_default_validate_args(True)
    yield
    Distribution.set_default_validate_args(before)
