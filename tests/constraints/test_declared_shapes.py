"""The test suite checks the shapes and types that numerical modules declare: see `tests/conftest.py`."""

import jaxtyping
import pytest
import torch

from plumbline.constraints._tiling import Tiling


def test_a_call_that_breaks_a_declaration_fails():
    with pytest.raises(jaxtyping.TypeCheckError, match="distance"):
        Tiling(2, 2, (8, 8)).distance(torch.zeros(8))


@pytest.mark.rejects
def test_bad_input_on_purpose_meets_the_code_itself():
    with pytest.raises(ValueError, match="not enough values to unpack"):
        Tiling(2, 2, (8, 8)).distance(torch.zeros(8))
