"""Paths of the workflow's files: the Snakefile, its rules, studies, environments and profiles.

In a clone they are at the top level. A wheel contains the same files in the package's folder `workflow`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).parent
CONFIGURATION = Path("config") / "config.yaml"
"""The configuration of a project, in the project's folder."""
OWN_STUDIES = Path("config") / "studies"
"""The folder of a project's own studies, in the project's folder."""


def workflow_folder() -> Path:
    """The folder with `Snakefile`, `rules`, `config`, `envs` and `profiles`.

    Raises:
        FileNotFoundError: the package was installed without these files.
    """
    for folder in (PACKAGE / "workflow", PACKAGE.parents[1]):
        if (folder / "Snakefile").is_file() and (folder / "rules").is_dir():
            return folder
    raise FileNotFoundError(
        f"the workflow's Snakefile is neither in {PACKAGE / 'workflow'} nor in {PACKAGE.parents[1]}: install "
        f"plumbline from a wheel or a clone."
    )


def configuration_file() -> Path:
    """The configuration of this folder if it has one, or that of the library."""
    return CONFIGURATION if CONFIGURATION.is_file() else workflow_folder() / CONFIGURATION


def library_studies() -> Path:
    """The folder of the studies that come with the library."""
    return workflow_folder() / "config" / "studies"


def study_file(name: str, folder: Path) -> Path:
    """The path of a study's file: in `folder` if it exists there, otherwise in the library.

    A name without a folder is also that of a study in a folder there, if only one has this name. If it exists
    in neither, the path in `folder` is returned, so that reading it raises the right error.
    """
    own = folder / f"{name}.yaml"
    for place in (folder, library_studies()):
        if (place / f"{name}.yaml").is_file():
            return place / f"{name}.yaml"
    for place in (folder, library_studies()):
        within = [] if "/" in name else sorted(place.glob(f"*/{name}.yaml"))
        if len(within) == 1:
            return within[0]
    return own


def studies_named(names: Iterable[str], folder: Path = OWN_STUDIES) -> list[str]:
    """The names with each name of a folder replaced by those of the studies in it, `folder/study`, in order.

    Args:
        names: names of studies, or of folders of them in `folder` or in the library.
        folder: the folder of a project's own studies.
    """
    found: dict[str, None] = {}
    for name in names:
        places = [] if study_file(name, folder).is_file() else [folder / name, library_studies() / name]
        within = {file.stem for place in places for file in place.glob("*.yaml")}
        found |= dict.fromkeys(f"{name}/{stem}" for stem in sorted(within)) if within else {name: None}
    return list(found)


def path_of_study(study: str | Path) -> Path:
    """The path of a study given by its YAML file or by its name, which is looked up from this folder.

    Args:
        study: a path that ends in `.yaml`, or the name of a study of this folder or of the library, with the
            name of its folder before it if it lies in one: `exact_conditionals/ellipse_mixture`.
    """
    path = Path(study)
    return path if path.suffix == ".yaml" else study_file(str(study), OWN_STUDIES)
