"""The tables of config/README.md: everything that a study may contain has a table there."""

from collections.abc import Iterator
from typing import get_args

from plumbline.reporting.keys import ROOMS, tables
from plumbline.spec import Kind, Spec, kinds
from plumbline.study import Study


def specs_within(annotation) -> Iterator[type[Spec]]:
    for inner in get_args(annotation):
        yield from specs_within(inner)
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        yield annotation


def reachable() -> set[type[Spec]]:
    """All specs that a study can contain, except base classes, which stand for their kinds."""
    unseen, found = [Study, *(spec for base, _ in ROOMS.values() for spec in kinds(base).values())], set()
    while unseen:
        spec = unseen.pop()
        if spec in found:
            continue
        found.add(spec)
        for info in spec.model_fields.values():
            unseen.extend(
                s
                for s in specs_within(info.annotation)
                if not (issubclass(s, Kind) and "kind" not in s.__annotations__)
            )
    return found


def test_every_spec_that_a_study_can_hold_has_its_keys_in_the_tables():
    text = tables()
    for spec in reachable():
        missing = [name for name in spec.model_fields if f"| `{name}` |" not in text]
        assert not missing, f"{spec.__name__}: {missing}"
        assert " ".join((spec.__doc__ or "").split()) in text, f"{spec.__name__} has no table"


def test_a_union_of_kinds_is_named_once():
    assert "mapping or mapping" not in tables()
