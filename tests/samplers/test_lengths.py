"""How long samplers run: shortened ones are valid, and nothing else of them changes."""

from pathlib import Path

import pytest

from plumbline.samplers import AnnealedLangevinSpec, FinalProjectionSpec, HeunSpec
from plumbline.samplers._lengths import Length, lengths, shortened, with_lengths
from plumbline.study import load_study

STUDIES = sorted((Path(__file__).parents[2] / "config" / "studies").rglob("*.yaml"))
LANGEVIN = AnnealedLangevinSpec(levels=30, steps=4)
NESTED = FinalProjectionSpec(constraint="mine", base=LANGEVIN)


def test_lengths_are_those_of_wrapped_samplers_too():
    assert lengths(NESTED) == {("base", "steps"): Length(1, 4), ("base", "levels"): Length(2, 30)}


def test_a_length_is_replaced_where_its_path_says():
    replaced = with_lengths(NESTED, {("base", "levels"): 7})
    assert replaced == FinalProjectionSpec(constraint="mine", base=AnnealedLangevinSpec(levels=7, steps=4))
    assert NESTED.base == LANGEVIN


def test_a_shortened_sampler_keeps_what_is_shorter_already():
    assert shortened(HeunSpec(steps=1), 2) == HeunSpec(steps=1)
    assert shortened(LANGEVIN, 1) == AnnealedLangevinSpec(levels=2, steps=1)
    assert shortened(NESTED, 3).base == AnnealedLangevinSpec(levels=3, steps=3)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_shortened_samplers_of_studies_are_valid(path):
    for method in load_study(path, "laptop").methods.values():
        short = shortened(method.sampler, 2)
        assert type(short).model_validate(short.model_dump()) == short
        assert all(length.value <= 2 for length in lengths(short).values())
