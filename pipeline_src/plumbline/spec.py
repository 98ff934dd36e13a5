"""Specs: typed, documented, immutable pieces of a study, one class a kind.

A room of the library (datasets, constraints, models, samplers, metrics) declares a base class of specs.
A kind is a subclass whose `kind` field is a `Literal`, written next to the code that builds from it;
importing the room's modules makes it known. There is no list of kinds to keep.

Spec modules must import without torch, because the Snakefile validates a study each time it loads.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial
from types import ModuleType
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

LARGEST_SEED = 2**32 - 1
"""The largest seed: seeds are multiplied and added to within 64 bits."""


class Spec(BaseModel):
    """Base of every spec: unknown keys are refused, values are immutable and equal by content."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    @model_validator(mode="before")
    @classmethod
    def _only_known_keys(cls, values: Any) -> Any:
        """Refuses an unknown key with a hint, which pydantic's own refusal lacks."""
        known = sorted(cls.model_fields)
        for name in values if isinstance(values, dict) else ():
            if name not in known:
                message = "unknown key{hint}; allowed are {allowed}"
                context = {
                    "key": str(name),
                    "hint": did_you_mean(str(name), known),
                    "allowed": ", ".join(known),
                }
                raise PydanticCustomError("unknown_key", message, context)
        return values

    def canonical(self) -> str:
        """The spec as JSON with sorted keys: equal specs give equal text, whatever the YAML looked like."""
        return canonical(self.model_dump(mode="json"))

    def digest(self) -> str:
        """The digest of the canonical text."""
        return digest(self.canonical())


def canonical(values: Mapping[str, object]) -> str:
    """Values as JSON with sorted keys."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"))


def digest(text: str) -> str:
    """Ten hexadecimal digits of the SHA-256 of a text, to name a folder by what is in it."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]


class Kind(Spec):
    """Base of the rooms' bases; every kind narrows `kind` to a literal."""

    kind: str


KindType = TypeVar("KindType", bound=Kind)


def key(unit: str | None = None, **constraints: Any) -> Any:
    """A field with a unit and constraints; its default is written after `=` with `default=`, if it has one."""
    return Field(json_schema_extra={"unit": unit} if unit else None, **constraints)


class KindCollisionError(ValueError):
    """Two kinds of a room have one name."""


@cache
def kinds(base: type[KindType]) -> dict[str, type[KindType]]:
    """Every kind of a room, by name, after importing the public modules of the room that `base` stands in.

    A module whose name begins with an underscore is the code behind a kind, or a helper, and is left out.

    Raises:
        KindCollisionError: two kinds of one name; the message names both files.
    """
    _import_public_modules(sys.modules[base.__module__])
    found: dict[str, type[KindType]] = {}
    unseen = list(base.__subclasses__())
    while unseen:
        candidate = unseen.pop(0)
        unseen.extend(c for c in candidate.__subclasses__() if c not in unseen)
        for name in get_args(candidate.model_fields["kind"].annotation):
            other = found.setdefault(name, candidate)
            if other is not candidate:
                raise KindCollisionError(
                    f"two kinds are called {name!r}: {other.__name__} in {_file_of(other)} and "
                    f"{candidate.__name__} in {_file_of(candidate)}. Rename one of them."
                )
    return dict(sorted(found.items()))


def _import_public_modules(room: ModuleType) -> None:
    """Imports the modules of a room, and those of its family folders; a room that is one file has none."""
    for module in pkgutil.iter_modules(getattr(room, "__path__", [])):
        if not module.name.startswith("_"):
            imported = importlib.import_module(f"{room.__name__}.{module.name}")
            if module.ispkg:
                _import_public_modules(imported)


def _file_of(kind: type) -> str:
    module = sys.modules.get(kind.__module__)
    return str(getattr(module, "__file__", None) or kind.__module__)


@dataclass(frozen=True)
class ByKind:
    """Marks a key, as `Annotated[Base, ByKind()]`, that takes any kind of a room, chosen by its `kind`."""

    def __get_pydantic_core_schema__(self, base: type[Kind], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validation by the spec of the kind; serialisation with all its own keys."""
        dumped = core_schema.plain_serializer_function_ser_schema(lambda spec: spec.model_dump(mode="json"))
        return core_schema.no_info_plain_validator_function(partial(of_kind, base), serialization=dumped)


def of_kind(base: type[KindType], value: Any) -> KindType:
    """The spec of a room's kind from its values, a mapping with `kind`; a spec is returned as it is."""
    if isinstance(value, base):
        return value
    known = kinds(base)
    allowed = ", ".join(known)
    if not isinstance(value, dict) or "kind" not in value:
        message = "expected a mapping with a `kind`, one of: {allowed}"
        raise PydanticCustomError("kind_missing", message, {"allowed": allowed})
    name = str(value["kind"])
    if name not in known:
        message = "unknown kind '{name}'{hint}; expected one of: {allowed}"
        context = {"name": name, "hint": did_you_mean(name, list(known)), "allowed": allowed}
        raise PydanticCustomError("kind_unknown", message, context)
    return known[name].model_validate(value)


def did_you_mean(word: str, allowed: list[str]) -> str:
    """A hint such as ` (did you mean 'steps'?)`, or nothing."""
    close = get_close_matches(word, allowed, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
