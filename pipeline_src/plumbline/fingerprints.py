"""Fingerprints of the files that a study reads. They depend on the content alone, not on modification times.

| input | fingerprint |
|---|---|
| file | SHA-256 of its content |
| folder, such as a zarr store | SHA-256 of its manifest: path, size and SHA-256 of every file below it |
| remote address | SHA-256 of the name, ETag and size of every object there, or the user's key `fingerprint` |
| published file | its published SHA-256, if the file there matches it or does not exist yet |

Fingerprints are cached by path, size and modification times, so that only new and changed files are read
again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from plumbline.input_files import InputFile, ReadsFiles
from plumbline.progress import Progress
from plumbline.spec import Spec
from plumbline.storage.partial import replace_text
from plumbline.study import Study, StudyError

IGNORED = frozenset(
    {".snakemake_timestamp", ".DS_Store", "Thumbs.db", "desktop.ini", ".ipynb_checkpoints", "__MACOSX"}
)
"""Names that operating systems and editors leave in folders; names beginning with `._` are ignored too."""
CHECKSUMS = ("ETag", "etag", "Content-MD5", "Digest", "md5Hash", "content_md5")
"""Keys under which fsspec's file systems return the checksum of an object."""
CACHE = Path(".snakemake") / "plumbline" / "fingerprints"
"""The folder in which fingerprints are remembered, in the folder of a run."""
BLOCK = 2**22
# Nanoseconds. A file changed more recently may change again without a visible change of its time stamps.
SETTLED = 2e9


class Stat(NamedTuple):
    """Size in bytes, modification and status change times in nanoseconds; equal if a file is unchanged."""

    size: int
    modified: int
    changed: int


def fingerprinted(study: Study, source: str, cache: Path, logger: logging.Logger) -> Study:
    """Returns the study with the fingerprints of all specs in it that read files.

    Args:
        study: the study.
        source: the study's file, for messages.
        cache: folder of the cached fingerprints.
        logger: logs the progress on large inputs every few seconds.

    Raises:
        StudyError: files do not exist or cannot be read. The message lists each with the path of its key.
    """
    problems: list[str] = []
    progress = Progress(logger)

    def known(spec: ReadsFiles, path: tuple[str, ...]) -> ReadsFiles:
        found = []
        for file in spec.input_files():
            try:
                found.append(f"{file.key} {_of_input(file, spec.fingerprint, cache, progress)}")
            except (OSError, ValueError) as error:
                problems.append(f"{'.'.join((*path, file.key))}: {error}")
        if spec.fingerprint is not None:
            found.append(f"fingerprint {spec.fingerprint}")
        return spec.model_copy(update={"fingerprint": _digest("\n".join(found))}) if found else spec

    known_study = _with_readers(study, (), known)
    if problems:
        listing = "\n".join(f"  - {line}" for line in problems)
        raise StudyError(f"{source} cannot be used:\n{listing}")
    return known_study


def fingerprint_of(path: Path, cache: Path, progress: Progress) -> str:
    """The SHA-256 of a file's content or of a folder's manifest, as hexadecimal digits.

    Args:
        path: the file or folder.
        cache: folder in which the SHA-256 of each file is cached.
        progress: reports the progress.

    Raises:
        OSError: the path does not exist, or a file cannot be read.
    """
    remembered = cache / f"{_digest(str(path.absolute()))}.json"
    known = _remembered(remembered)
    sizes = dict(_files(path))
    fresh = {name for name, stat in sizes.items() if known.get(name, (None,))[0] != stat}
    total, done = sum(sizes[name].size for name in fresh), 0
    started = time.monotonic()

    def report(read: int) -> None:
        nonlocal done
        done += read
        progress.report(_progress(path, done, total, time.monotonic() - started))

    hashes = {name: known[name][1] for name in sizes if name not in fresh}
    settled = set(hashes)
    try:
        for name in sorted(fresh):
            file = path / name if name else path
            began = time.time_ns()
            hashes[name] = sha256_of(file, report)
            if _stat(file) == sizes[name] and began - max(sizes[name][1:]) >= SETTLED:
                settled.add(name)
    finally:
        # If the user interrupts the reading of a large folder, the hashes computed so far are kept.
        if fresh or set(known) != set(sizes):
            _remember(remembered, {name: (sizes[name], hashes[name]) for name in sizes if name in settled})
    if path.is_file():
        return hashes[""]
    manifest = hashlib.sha256()
    for name in sorted(hashes):
        manifest.update(os.fsencode(name) + f"\0{sizes[name].size}\0{hashes[name]}\n".encode())
    return manifest.hexdigest()


def sha256_of(file: Path, tell: Callable[[int], None]) -> str:
    """The SHA-256 of a file's content, read in blocks; `tell` is called with the size of each block."""
    sha = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(BLOCK):
            sha.update(block)
            tell(len(block))
    return sha.hexdigest()


def _of_input(file: InputFile, key: str | None, cache: Path, progress: Progress) -> str:
    """The fingerprint of an input.

    Raises:
        ValueError: nothing exists at its path, or a server gives no checksum of the content.
        OSError: the input cannot be read.
    """
    # In a chained address such as `zip://::s3://bucket/store.zip`, the fingerprint is that of the archive.
    address = file.path.split("::")[-1] if "://" in file.path else file.path
    if "://" in address and not address.startswith("file://"):
        return "set by the user" if key is not None else _of_address(address)
    path = Path(address.removeprefix("file://"))
    if path.exists():
        found = fingerprint_of(path, cache, progress)
        return file.published[0] if found in file.published else found
    if file.published:
        return file.published[0]
    start = (
        ""
        if path.is_absolute()
        else f" Relative paths start at the folder that Snakemake runs in, {Path.cwd()}."
    )
    raise ValueError(f"there is nothing at {path.absolute()}, which should be {file.what}.{start}")


def _of_address(address: str) -> str:
    """The SHA-256 of the names, ETags and sizes of the objects below a remote address.

    Raises:
        ValueError: the content cannot be listed, is empty, or has no ETags.
    """
    import fsspec

    remedy = (
        "set `fingerprint` next to it to a text of your choice, and change that text when the content changes"
    )
    try:
        files, root = fsspec.core.url_to_fs(address)
        about = files.info(root)
        below = files.find(root, detail=True) if about.get("type") == "directory" else {root: about}
    except ImportError as error:
        raise ValueError(f"{address} needs a package that is not installed: {error}") from None
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else "no reason given"
        raise ValueError(
            f"the content of {address} cannot be listed ({type(error).__name__}: {reason}); "
            f"check the address, or {remedy}"
        ) from None
    if urlsplit(address).scheme in ("http", "https") and not root.endswith((".zip", ".h5", ".hdf5", ".csv")):
        raise ValueError(f"{address}: files below a web address cannot be listed; {remedy}")
    if not below:
        raise ValueError(f"there is nothing at {address}")
    lines = []
    for name in sorted(below):
        checksum = next((below[name][c] for c in CHECKSUMS if below[name].get(c)), None)
        if checksum is None:
            raise ValueError(f"the server of {address} gives no ETag for {name}; {remedy}")
        lines.append(f"{name.removeprefix(root)}\0{checksum}\0{below[name].get('size')}")
    return _digest("\n".join(lines))


def _files(path: Path) -> Iterator[tuple[str, Stat]]:
    """Yields every file in a folder, following links, by its relative path; a single file has an empty path.

    Raises:
        OSError: a folder cannot be listed.
    """
    if path.is_file():
        yield "", _stat(path)
        return
    pending = [("", frozenset({os.path.realpath(path)}))]
    while pending:
        folder, above = pending.pop()
        with os.scandir(path / folder) as entries:
            for entry in entries:
                if entry.name in IGNORED or entry.name.startswith("._"):
                    continue
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir():
                    real = os.path.realpath(entry.path)
                    # Skip links to a parent folder, which would be followed forever.
                    if real not in above:
                        pending.append((name, above | {real}))
                elif entry.is_file():
                    yield name, _stat(Path(entry.path))


def _stat(path: Path) -> Stat:
    found = path.stat()
    return Stat(found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _remembered(file: Path) -> dict[str, tuple[Stat, str]]:
    """The cached hash of each file; empty if the cache cannot be read, which only costs time."""
    try:
        values = json.loads(file.read_text())
        return {name: (Stat(*stat), sha) for name, (stat, sha) in values.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _remember(file: Path, values: dict[str, tuple[Stat, str]]) -> None:
    try:
        replace_text(file, json.dumps(values))
    except OSError:
        # Without a writable cache, the files are read again next time.
        return


def _progress(path: Path, done: int, total: int, seconds: float) -> str:
    left = seconds * (total - done) / max(done, 1)
    fraction = 100 * done / max(total, 1)
    return (
        f"Reading {path} to see whether it has changed: {done / 1e9:.1f} of {total / 1e9:.1f} GB "
        f"({fraction:.0f}%), {left:.0f} s left."
    )


def _digest(text: str) -> str:
    """The first 32 hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]


def _with_readers(value: Any, path: tuple[str, ...], known: Callable[..., ReadsFiles]) -> Any:
    """Replaces each spec in `value` that reads files by `known(spec, path)`; otherwise returns `value`."""
    if isinstance(value, Spec):
        changed = {}
        for name in type(value).model_fields:
            before = getattr(value, name)
            after = _with_readers(before, (*path, name), known)
            if after is not before:
                changed[name] = after
        whole = value.model_copy(update=changed) if changed else value
        return known(whole, path) if isinstance(whole, ReadsFiles) else whole
    if isinstance(value, dict):
        entries = {name: _with_readers(entry, (*path, str(name)), known) for name, entry in value.items()}
        return entries if any(entries[name] is not value[name] for name in value) else value
    if isinstance(value, tuple):
        several = tuple(_with_readers(entry, (*path, str(i)), known) for i, entry in enumerate(value))
        return several if any(a is not b for a, b in zip(several, value)) else value
    return value
