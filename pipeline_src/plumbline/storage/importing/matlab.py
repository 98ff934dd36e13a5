"""Import of MATLAB files of neural-operator papers, which contain a given field or function and the solution.

In MATLAB's order of axes, samples come first, then space, then time. Files of version 7.3 are HDF5 and store
the axes in reverse order. Known pairs of names are `a` and `u`, `input` and `output`, `coeff` and `sol`.
"""

from __future__ import annotations

from dataclasses import replace

from plumbline.datasets._download import DataFileError
from plumbline.storage.importing.arrays import Coordinates, read_arrays
from plumbline.storage.importing.axes import SPACE
from plumbline.storage.importing.found import Found
from plumbline.storage.importing.options import ImportOptions
from plumbline.storage.importing.source import Source

PAIRS = (("a", "u"), ("input", "output"), ("coeff", "sol"))


def recognise(source: Source, options: ImportOptions) -> Found | None:
    """Finds the solution and the given field in a file; None if it has no pair of the known names.

    Args:
        source: the file.
        options: the options of the user.

    Raises:
        DataFileError: the file has such a pair, but the order of its axes is not certain.
    """
    pair = next((p for p in PAIRS if set(p) <= set(source.arrays)), None)
    if pair is None:
        return None
    given, solution = pair
    shape = source.shape(solution)
    if not source.matlab:
        names = ",".join(["sample", *SPACE[: len(shape) - 1]])
        turned = ",".join([*SPACE[: len(shape) - 1][::-1], "sample"])
        raise DataFileError(
            f"{source.path} has `{given}` {source.shape(given)} and `{solution}` {shape}, but may not be "
            "written by MATLAB, which reverses the axes. List the axes in the order of the file, as in "
            f"`--variable {solution} --condition {given} --dims {names}` (or `{turned}`)."
        )
    dims = options.dims.get(solution) or options.dims.get("") or _dims(source, options, given, solution)
    if dims is None:
        raise DataFileError(
            f"{source.path}: `{solution}` has the shape {shape} in MATLAB's order, which does not "
            "distinguish time from space. List its axes in this order, as in "
            f"`--dims {','.join(['sample', *SPACE[: len(shape) - 1]])}`."
        )
    named = replace(
        options,
        variables=(solution,),
        conditions=(given,),
        dims={
            solution: dims,
            **({given: _given_dims(source, given, dims)} if given not in options.dims else {}),
            **options.dims,
        },
    )
    return read_arrays(source, named, "MATLAB", [solution])


def _dims(source: Source, options: ImportOptions, given: str, solution: str) -> tuple[str, ...] | None:
    own, before = source.shape(solution), source.shape(given)
    if own == before and len(own) <= 4:
        return ("sample", *SPACE[: len(own) - 1])
    times = [axis for axis in range(1, len(own)) if own[:axis] + own[axis + 1 :] == before]
    length = Coordinates(source, options, (given, solution)).lengths.get("time")
    times = [axis for axis in times if length in (None, own[axis])]
    if len(times) != 1 or len(own) > 5:
        return None
    space = list(SPACE[: len(own) - 2])
    return ("sample", *space[: times[0] - 1], "time", *space[times[0] - 1 :])


def _given_dims(source: Source, given: str, dims: tuple[str, ...]) -> tuple[str, ...]:
    axes = len(source.shape(given))
    static = tuple(dim for dim in dims if dim != "time")
    for own in (static, dims):
        if axes == len(own):
            return own
    return ("sample", *(f"{given}_{i}" for i in range(axes - 1)))
