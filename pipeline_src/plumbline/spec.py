"""Specs: typed, documented, immutable pieces of a study, one class a kind.

A room of the library (datasets, constraints, models, samplers, metrics) declares a base class of specs.
A kind is a subclass whose `kind` field is a `Literal`, written next to the code that builds from it;
importing the room's modules makes it known. There is no list of kinds to keep.

Spec modules must import without torch, because the Snakefile validates a study each time it loads.

Kinds from outside the library are plug-ins: a file under `plugins:` of a study, or a module that an installed package
registers as an entry point of the group `plumbline.kinds`. Their kinds join those of their rooms. A spec of such a kind names
its plug-in where it is serialised (`plugin: constraints.py@5f0c...`, or `plugin: package==1.2`). The slices of the jobs that
use the plug-in, and no others, change with its content, and a job knows what to import.
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
"""The group of entry points of packages with kinds."""
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

    @classmethod
    def kind_names(cls) -> tuple[str, ...]:
        """The values of `kind` that choose this class; none for the base of several kinds."""
        return get_args(cls.model_fields["kind"].annotation)

    @classmethod
    def room(cls) -> type[Kind]:
        """The base class of the room that the kind belongs to."""
        return next(base for base in cls.__mro__ if Kind in base.__bases__)

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """The keys and values and, for a kind from a plug-in, the plug-in that a job must import to read them."""
        values = super().model_dump(**options)
        origin = _origin.get(type(self))
        return values if origin is None else {**values, "plugin": _recorded(origin)}


KindType = TypeVar("KindType", bound=Kind)


def key(unit: str | None = None, **constraints: Any) -> Any:
    """A field with a unit and constraints; its default, if it has one, is given as `default=`."""
    return Field(json_schema_extra={"unit": unit} if unit else None, **constraints)


class KindCollisionError(ValueError):
    """Two kinds of a room have one name."""


_origin: WeakKeyDictionary[type[Kind], str] = WeakKeyDictionary()
_failed: WeakSet[type[Kind]] = WeakSet()
_active: set[str] = set()
_packages: dict[str, str] = {}


@cache
def kinds(base: type[KindType]) -> dict[str, type[KindType]]:
    """Every kind of a room, by name, after importing the public modules of the room that `base` stands in.

    A module whose name begins with an underscore is the code behind a kind, or a helper, and is left out. Of plug-ins
    that are files, those of the study that was read last count.

    Raises:
        KindCollisionError: two kinds of one name; the message names both files.
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
    """All classes below a base, each once: those of the library, of packages and of the active plug-ins."""
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
    """Imports the modules of a room, and those of its family folders; a room that is one file has none."""
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
    """Marks a key, as `Annotated[Base, ByKind()]`, that takes any kind of a room, chosen by its `kind`."""

    def __get_pydantic_core_schema__(self, base: type[Kind], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validation by the spec of the kind; serialisation with all its own keys."""
        dumped = core_schema.plain_serializer_function_ser_schema(lambda spec: spec.model_dump(mode="json"))
        return core_schema.no_info_plain_validator_function(partial(of_kind, base), serialization=dumped)


def of_kind(base: type[KindType], value: Any) -> KindType:
    """The spec of a room's kind from its values, a mapping with `kind`; a spec is returned as it is."""
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
    """A hint such as ` (did you mean 'steps'?)`, or nothing."""
    close = get_close_matches(word, allowed, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def forget_plugins() -> None:
    """Makes the kinds of all files unknown, until `load_plugin` names the file again."""
    _active.clear()
    kinds.cache_clear()


def load_plugin(text: str) -> str:
    """Imports a plug-in, so that its kinds are known, and returns its name with the digest or version.

    Args:
        text: a file as a study names it, `file@digest` or `package==version` as a slice names it.

    Raises:
        UserCodeError: it is missing, has changed, fails, defines no kind, or takes a name that exists.
    """
    if "==" in text:
        return _load_recorded_package(text)
    unit = CodeUnit.of(text)
    origin = f"{unit.path.absolute()}@{unit.digest}"
    if origin in _active:
        return str(unit)
    known = origin in _origin.values()
    before = set(subclasses(Kind))
    _active.add(origin)
    try:
        unit.load()
        if not known:
            _adopt(before, origin, {str(file) for file in unit.files()})
        _require_distinct(kind for kind in subclasses(Kind) if _origin.get(kind) == origin)
    except BaseException:
        _active.discard(origin)
        unit.forget()
        _failed.update(kind for kind in subclasses(Kind) if kind not in before)
        kinds.cache_clear()
        raise
    return str(unit)


def load_packages() -> None:
    """Imports the plug-ins of installed packages, each once.

    Raises:
        UserCodeError: one fails, or takes a name that exists.
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
    """An origin as slices name it: a file relative to the folder that Snakemake runs in, if it lies below it."""
    path, at, digest_ = origin.partition("@")
    return f"{relative_path(Path(path)).as_posix()}@{digest_}" if at else origin


def _load_recorded_package(text: str) -> str:
    load_packages()
    if text not in _packages.values():
        name = text.partition("==")[0]
        found = [one for one in _packages.values() if one.partition("==")[0] == name]
        raise UserCodeError(
            f"a kind of the package {text} is used, and {found[0] if found else 'no such package'} is "
            f"installed: install {text}, or start the workflow again."
        )
    return text


def _adopt(before: set[type[Kind]], origin: str, files: set[str] | None) -> None:
    """Notes where the kinds that an import defined come from."""
    new = [kind for kind in subclasses(Kind) if kind not in before]
    if files is not None:
        new = [kind for kind in new if inspect.getsourcefile(kind) in files]
    if not any(kind.kind_names() for kind in new):
        raise UserCodeError(
            f"{origin.partition('@')[0]} defines no kind: a kind is a subclass of a room's base class, such as "
            f'`ConstraintSpec`, with a field `kind: Literal["..."]`'
        )
    for kind in new:
        _origin[kind] = origin


def _require_distinct(new: Iterable[type[Kind]]) -> None:
    """Refuses kinds whose name another one of their room has."""
    kinds.cache_clear()
    for room in {kind.room() for kind in new if kind.kind_names()}:
        try:
            kinds(room)
        except KindCollisionError as error:
            raise UserCodeError(str(error)) from None
