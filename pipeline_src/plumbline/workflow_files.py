"""Where the workflow's own files lie: the Snakefile, its rules, studies, environments and profiles.

In a clone they lie at its top; a wheel carries the same files in the package's folder `workflow`.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parent


def workflow_folder() -> Path:
    """The folder that holds `Snakefile`, `rules`, `config`, `envs` and `profiles`.

    Raises:
        FileNotFoundError: the package was installed without them.
    """
    for folder in (PACKAGE / "workflow", PACKAGE.parents[1]):
        if (folder / "Snakefile").is_file() and (folder / "rules").is_dir():
            return folder
    raise FileNotFoundError(
        f"the workflow's Snakefile is neither in {PACKAGE / 'workflow'} nor in {PACKAGE.parents[1]}: install "
        f"plumbline from a wheel or a clone."
    )


def library_studies() -> Path:
    """The folder of the studies that come with the library."""
    return workflow_folder() / "config" / "studies"


def study_file(name: str, folder: Path) -> Path:
    """The file of a study: the one in `folder` or, where it has none of this name, the library's.

    A file that is in neither is given as one of `folder`, for the error that says so.
    """
    own = folder / f"{name}.yaml"
    library = library_studies() / f"{name}.yaml"
    return library if library.is_file() and not own.is_file() else own
