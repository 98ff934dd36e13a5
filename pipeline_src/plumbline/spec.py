"""Specs: typed, documented, immutable parts of a study, with one class per kind.

A room of the library is one of its packages of kinds, such as datasets, constraints, models, samplers and
metrics. Each room declares a base class of specs. A kind is a subclass whose `kind` field is a `Literal`,
written next to the code that builds from it. Importing the room's modules registers its kinds, so there is no
list of kinds to maintain.

Spec modules must import without torch, because the Snakefile validates a study each time it loads.

Kinds from outside the library are plug-ins: a file under `plugins:` of a study, or a module that an installed
package registers as an entry point of the group `plumbline.kinds`. Their kinds are added to those of their
rooms. A serialised spec of such a kind names its plug-in (`plugin: constraints.py@5f0c...`, or
`plugin: package==1.2`). The slices of the jobs that use the plug-in therefore change with its content, and a
job knows what to import.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import pkgutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, get_args
from weakref import WeakKeyDictionary, WeakSet

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from plumbline.user_code import CodeUnit, UserCodeError, relative_path

PLUGIN_GROUP = "plumbline.kinds"
"""The entry-point group of packages with kinds."""
LARGEST_SEED = 2**32 - 1
"""The largest seed, so that arithmetic on seeds fits into 64 bits."""


class Spec(BaseModel):
    """Base class of every spec. Unknown keys are refused; specs are immutable and compared by content."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    @model_validator(mode="before")
    @classmethod
    def _only_known_keys(cls, values: Any) -> Any:
        """Refuses an unknown key with a hint, which pydantic's own error lacks."""
        known = sorted(cls.model_fields)
        for name in values if isinstance(values, dict) else ():
            if name not in known:
                message = "unknown key{hint}; allowed: {allowed}"
                context = {
                    "key": str(name),
                    "hint": did_you_mean(str(name), known),
                    "allowed": ", ".join(known),
                }
                raise PydanticCustomError("unknown_key", message, context)
        return values

    def canonical(self) -> str:
        """The spec as JSON with sorted keys. Equal specs give equal text, however the YAML is laid out."""
        return canonical(self.model_dump(mode="json"))

    def digest(self) -> str:
        """The digest of the canonical text."""
        return digest(self.canonical())


def canonical(values: Mapping[str, object]) -> str:
    """Values as JSON with sorted keys."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"))


def digest(text: str) -> str:
    """The first ten hexadecimal digits of the SHA-256 of a text, used in the names of folders."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]


class Kind(Spec):
    """Base class of the rooms' base classes. Every kind narrows `kind` to a literal."""

    kind: str

    @classmethod
    def kind_names(cls) -> tuple[str, ...]:
        """The values of `kind` that select this class; empty for a base class of several kinds."""
        return get_args(cls.model_fields["kind"].annotation)

    @classmethod
    def room(cls) -> type[Kind]:
        """The base class of the room that the kind belongs to."""
        return next(base for base in cls.__mro__ if Kind in base.__bases__)

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """The keys and values. A kind from a plug-in also names the plug-in that a job must import."""
        values = super().model_dump(**options)
        origin = _origin.get(type(self))
        return values if origin is None else {**values, "plugin": _recorded(origin)}


KindType = TypeVar("KindType", bound=Kind)


def key(unit: str | None = None, **constraints: Any) -> Any:
    """Declares a field with a unit and constraints. A default is given as `default=`."""
    return Field(json_schema_extra={"unit": unit} if unit else None, **constraints)


class KindCollisionError(ValueError):
    """Two kinds of a room have the same name."""


_origin: WeakKeyDictionary[type[Kind], str] = WeakKeyDictionary()
_failed: WeakSet[type[Kind]] = WeakSet()
_active: set[str] = set()
_packages: dict[str, str] = {}


@cache
def kinds(base: type[KindType]) -> dict[str, type[KindType]]:
    """Imports the public modules of a room and returns its kinds by name.

    Modules whose names begin with an underscore implement the kinds and are not imported. Of plug-in files,
    only those of the study that was read last are included.

    Args:
        base: the base class of the room.

    Raises:
        KindCollisionError: two kinds have the same name; the message names both files.
    """
    _import_public_modules(sys.modules[base.__module__])
    load_packages()
    found: dict[str, type[KindType]] = {}
    for candidate in subclasses(base):
        for name in candidate.kind_names():
            other = found.setdefault(name, candidate)
            if other is not candidate:
                raise KindCollisionError(
                    f"two kinds are called {name!r}: {other.__name__} in {_place_of(other)} and "
                    f"{candidate.__name__} in {_place_of(candidate)}. Rename one of them."
                )
    return dict(sorted(found.items()))


def subclasses(base: type[KindType]) -> list[type[KindType]]:
    """All subclasses of a base class, each once: from the library, packages and active plug-ins."""
    found: list[type[KindType]] = []
    unseen = list(base.__subclasses__())
    while unseen:
        candidate = unseen.pop(0)
        inactive = "@" in (origin := _origin.get(candidate, "")) and origin not in _active
        if candidate not in found and candidate not in _failed and not inactive:
            found.append(candidate)
            unseen.extend(candidate.__subclasses__())
    return found


def _import_public_modules(room: ModuleType) -> None:
    """Imports the public modules of a room and of its subfolders. A room that is a single file has none."""
    for module in pkgutil.iter_modules(getattr(room, "__path__", [])):
        if not module.name.startswith("_"):
            imported = importlib.import_module(f"{room.__name__}.{module.name}")
            if module.ispkg:
                _import_public_modules(imported)


def _place_of(kind: type) -> str:
    """File and line of a class."""
    try:
        return f"{inspect.getsourcefile(kind)}, line {inspect.getsourcelines(kind)[1]}"
    except (OSError, TypeError):
        return kind.__module__


@dataclass(frozen=True)
class ByKind:
    """Annotates a key, as `Annotated[Base, ByKind()]`, that takes any kind of a room, selected by `kind`."""

    def __get_pydantic_core_schema__(self, base: type[Kind], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validates with the spec of the kind, and serialises all its keys."""
        dumped = core_schema.plain_serializer_function_ser_schema(lambda spec: spec.model_dump(mode="json"))
        return core_schema.no_info_plain_validator_function(partial(of_kind, base), serialization=dumped)


def of_kind(base: type[KindType], value: Any) -> KindType:
    """Builds the spec of a room's kind.

    Args:
        base: the base class of the room.
        value: a mapping with `kind`, or a spec, which is returned unchanged.

    Raises:
        PydanticCustomError: `kind` is missing or unknown.
        ValidationError: a value is invalid.
    """
    if isinstance(value, base):
        return value
    if isinstance(value, dict) and isinstance(value.get("plugin"), str):
        load_plugin(value["plugin"])
        value = {name: one for name, one in value.items() if name != "plugin"}
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
    """A hint such as ` (did you mean 'steps'?)`, or an empty text if no allowed word is close."""
    close = get_close_matches(word, allowed, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def forget_plugins() -> None:
    """Deactivates the kinds of all plug-in files until `load_plugin` activates a file again."""
    if _active:
        _active.clear()
        kinds.cache_clear()


def load_plugin(text: str) -> str:
    """Imports a plug-in, registers its kinds, and returns its name with the digest or version.

    Args:
        text: a file as in a study, or `file@digest` or `package==version` as in a slice.

    Raises:
        UserCodeError: the plug-in is missing, has changed, fails, defines no kind, or reuses a kind's name.
    """
    if "==" in text:
        return _load_recorded_package(text)
    unit = CodeUnit.of(text)
    origin = f"{unit.path.absolute()}@{unit.digest}"
    if origin in _active:
        return str(unit)
    before = set(subclasses(Kind))
    _active.add(origin)
    try:
        unit.load()
        if origin not in _origin.values():
            _adopt(before, origin, {str(file) for file in unit.files()})
        _require_distinct(kind for kind in subclasses(Kind) if _origin.get(kind) == origin)
    except BaseException:
        # The next attempt starts anew: its import defines other classes.
        for kind in set(subclasses(Kind)) - before:
            _failed.add(kind)
            _origin.pop(kind, None)
        _active.discard(origin)
        unit.forget()
        kinds.cache_clear()
        raise
    return str(unit)


def load_packages() -> None:
    """Imports the plug-ins of installed packages, each once.

    Raises:
        UserCodeError: a plug-in fails, defines no kind, or reuses a kind's name.
    """
    for entry in _entry_points():
        package = entry.dist.name if entry.dist else entry.module
        version = entry.dist.version if entry.dist else "0"
        if entry.value in _packages:
            continue
        before = set(subclasses(Kind))
        try:
            entry.load()
        except Exception as error:
            raise UserCodeError(
                f"the package {package} {version} registers kinds in {entry.value}, which fails: "
                f"{type(error).__name__}: {error}"
            ) from error
        _packages[entry.value] = f"{package}=={version}"
        _adopt(before, f"{package}=={version}", None)
        _require_distinct(kind for kind in subclasses(Kind) if kind not in before)


@cache
def _entry_points() -> metadata.EntryPoints:
    return metadata.entry_points(group=PLUGIN_GROUP)


def _recorded(origin: str) -> str:
    """An origin as in slices. A file below Snakemake's working directory is given relative to it."""
    path, at, digest_ = origin.partition("@")
    return f"{relative_path(Path(path)).as_posix()}@{digest_}" if at else origin


def _load_recorded_package(text: str) -> str:
    load_packages()
    if text not in _packages.values():
        name = text.partition("==")[0]
        found = [one for one in _packages.values() if one.partition("==")[0] == name]
        raise UserCodeError(
            f"a kind of the package {text} is used, and {found[0] if found else 'no such package'} is "
            f"installed: install {text}, or restart the workflow."
        )
    return text


def _adopt(before: set[type[Kind]], origin: str, files: set[str] | None) -> None:
    """Records the origin of the kinds that an import defined."""
    new = [kind for kind in subclasses(Kind) if kind not in before]
    if files is not None:
        new = [kind for kind in new if inspect.getsourcefile(kind) in files]
    if not any(kind.kind_names() for kind in new):
        raise UserCodeError(
            f"{origin.partition('@')[0]} defines no kind: a kind is a subclass of a room's base class, "
            f'such as `ConstraintSpec`, with a field `kind: Literal["..."]`'
        )
    for kind in new:
        _origin[kind] = origin


def _require_distinct(new: Iterable[type[Kind]]) -> None:
    """Refuses kinds whose names are taken in their room."""
    kinds.cache_clear()
    for room in {kind.room() for kind in new if kind.kind_names()}:
        try:
            kinds(room)
        except KindCollisionError as error:
            raise UserCodeError(str(error)) from None
