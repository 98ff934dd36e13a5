"""Python files of a user's project: finding their dependencies, and loading them.

A study refers to user code in two ways: files with kinds (`plugins: [constraints.py]`, see `plumbline.spec`)
and functions (`function: constraints.py:residual`). In both cases the unit is the file together with all
modules of the project that it imports, directly or indirectly. The digest of the unit is part of the slice of
every job that uses the code, so a changed function reruns these jobs. A job compares the digest with the
files before it imports them.

A relative path starts at the folder of the study's file or, if there is no such file, at Snakemake's working
directory. Names are looked up in the source when a study is loaded. Only jobs that call a function import its
module.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_study_folder: ContextVar[Path | None] = ContextVar("study_folder", default=None)
_loaded: dict[Path, tuple[str, ModuleType]] = {}


class UserCodeError(ValueError):
    """User code cannot be used. The message names the file and, if it is known, the line."""


@contextmanager
def beside(study_file: Path) -> Iterator[None]:
    """A context in which relative paths of user code start at the folder of this study's file."""
    token = _study_folder.set(study_file.parent)
    try:
        yield
    finally:
        _study_folder.reset(token)


@dataclass(frozen=True)
class CodeUnit:
    """A user's file and the modules of the project that it imports.

    Attributes:
        path: the file, relative to Snakemake's working directory if it is below it, otherwise absolute.
        digest: the first ten hexadecimal digits of the SHA-256 of the names and contents of all files.
    """

    path: Path
    digest: str

    def __str__(self) -> str:
        return f"{self.path.as_posix()}@{self.digest}"

    @classmethod
    def of(cls, text: str) -> CodeUnit:
        """The unit of a path as in a study, or of `path@digest` as in a slice.

        Raises:
            UserCodeError: there is no such file, or it is not valid Python.
        """
        path, _, recorded = text.partition("@")
        if recorded:
            return cls(Path(path), recorded)
        found = _find(path)
        return cls(found, _digest(found))

    def load(self) -> ModuleType:
        """Imports the module, or returns it if it is loaded and its files have not changed.

        Raises:
            UserCodeError: the files do not match the digest, or the import fails.
        """
        path = self.path.absolute()
        if not path.is_file():
            raise UserCodeError(f"{self.path} does not exist, but the study of this job names it.")
        if (found := _digest(path)) != self.digest:
            raise UserCodeError(
                f"{self.path}, or a module of the project that it imports, has changed since this job was "
                f"planned (digest {found}, expected {self.digest}): restart the workflow."
            )
        if path not in _loaded or _loaded[path][0] != self.digest:
            _loaded[path] = (self.digest, _imported(path, self.digest))
        return _loaded[path][1]

    def forget(self) -> None:
        """Removes the module from the cache, so that the next `load` imports it again."""
        _loaded.pop(self.path.absolute(), None)

    def files(self) -> tuple[Path, ...]:
        """All files of the unit, starting with `path`."""
        return _files(self.path.absolute())


@dataclass(frozen=True)
class UserFunction:
    """A function in a user's file, written `file.py:name` in a study.

    Attributes:
        unit: the file.
        name: the function's name, defined at the top level of the file.
    """

    unit: CodeUnit
    name: str

    def __str__(self) -> str:
        return f"{self.unit.path.as_posix()}:{self.name}@{self.unit.digest}"

    @classmethod
    def of(cls, text: object) -> UserFunction:
        """Finds the function that a study or a slice names. The file is parsed, not imported.

        Raises:
            UserCodeError: the text is not of the form `file.py:name`, or there is no such file or function.
        """
        if isinstance(text, cls):
            return text
        place, _, recorded = str(text).partition("@")
        path, _, name = place.rpartition(":")
        if not isinstance(text, str) or not path or not name.isidentifier():
            raise UserCodeError(
                f"expected a function as `file.py:name`, such as `constraints.py:residual`, found {text!r}"
            )
        if recorded:
            return cls(CodeUnit(Path(path), recorded), name)
        unit = CodeUnit.of(path)
        defined = _names_in(unit.path)
        if name not in defined:
            raise UserCodeError(
                f"{unit.path} does not define {name!r} at its top level; it defines "
                f"{', '.join(defined) or 'nothing'}"
            )
        return cls(unit, name)

    def load(self) -> Callable[..., Any]:
        """Imports the file and returns the function.

        Raises:
            UserCodeError: the file has changed, its import fails, or the object of this name is not callable.
        """
        function = getattr(self.unit.load(), self.name, None)
        if not callable(function):
            raise UserCodeError(f"{self.unit.path}: {self.name!r} is not a function.")
        return function

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validates from text, and serialises to text with the digest."""
        return core_schema.no_info_plain_validator_function(
            cls.of, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )


def _find(text: str) -> Path:
    """Finds the file that a study names. See `relative_path` for the result."""
    folder = _study_folder.get()
    places = [Path(text)] if folder is None else [folder / text, Path(text)]
    for place in places:
        if place.is_file():
            return relative_path(place)
    looked = " nor ".join(str(place) for place in dict.fromkeys(places))
    raise UserCodeError(f"there is no file {looked}; a relative path starts at the folder of the study")


def relative_path(path: Path) -> Path:
    """The path relative to Snakemake's working directory if it is below it, otherwise absolute."""
    absolute, here = Path(os.path.abspath(path)), Path.cwd()
    return absolute.relative_to(here) if absolute.is_relative_to(here) else absolute


def _files(path: Path) -> tuple[Path, ...]:
    """A file and the modules below its folder that it imports, directly or indirectly, in a fixed order."""
    found, unread = {path: None}, [path]
    while unread:
        for imported in sorted(_imports(unread.pop(0), path.parent)):
            if imported not in found:
                found[imported] = None
                unread.append(imported)
    return tuple(found)


def _imports(file: Path, root: Path) -> set[Path]:
    """The files below `root` that a file imports."""
    found: set[Path] = set()
    for node in ast.walk(_parsed(file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found |= _modules(root, alias.name)
        elif isinstance(node, ast.ImportFrom):
            start = root if not node.level else file.parents[node.level - 1]
            found |= _modules(start, node.module or "")
            for alias in node.names:
                found |= _modules(start, ".".join(filter(None, [node.module, alias.name])))
    return found


def _modules(root: Path, name: str) -> set[Path]:
    """The files of a dotted name below `root`: each package's `__init__.py`, and the module or package."""
    found: set[Path] = set()
    here = root
    for part in filter(None, name.split(".")):
        if (here / f"{part}.py").is_file():
            return {*found, here / f"{part}.py"}
        here = here / part
        if not (here / "__init__.py").is_file():
            return found
        found.add(here / "__init__.py")
    return found | (set(here.rglob("*.py")) if here != root else set())


def _parsed(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes(), str(file))
    except SyntaxError as error:
        raise UserCodeError(f"{file}, line {error.lineno}: {error.msg}") from None
    except (OSError, ValueError) as error:
        raise UserCodeError(f"{file} cannot be read: {error}") from None


def _names_in(file: Path) -> list[str]:
    """The names that a file defines at its top level: functions, classes, assignments and `from` imports."""
    names: list[str] = []
    for node in _parsed(file).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.ImportFrom):
            names += [alias.asname or alias.name for alias in node.names]
    return names


def _digest(path: Path) -> str:
    files = _files(path.absolute())
    whole = hashlib.sha256()
    for file in files:
        name = os.path.relpath(file, path.absolute().parent)
        whole.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()[:10]


def _imported(path: Path, digest: str) -> ModuleType:
    """Imports a file, and reloads the project's modules that it imports."""
    files = {str(file) for file in _files(path)}
    for name, module in list(sys.modules.items()):
        if getattr(module, "__file__", None) in files:
            del sys.modules[name]
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = f"plumbline_user_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UserCodeError(
            f"{_line_at_fault(error, files, path)}: {type(error).__name__}: {error}"
        ) from error
    return module


def _line_at_fault(error: BaseException, files: set[str], path: Path) -> str:
    """The innermost line of user code in the traceback, as `file, line n`."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else str(path)
