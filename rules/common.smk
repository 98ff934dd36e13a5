# The studies, checked as the Snakefile loads, and the paths and slices that rules ask them for.
import shlex
import sys
from pathlib import Path

from snakemake.logging import logger

# The workflow's own folder, above that of this file, also where another Snakefile imports the workflow as a module.
HOME = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent
if not (HOME / "pipeline_src").is_dir():
    raise WorkflowError(
        f"{HOME} is no folder with the workflow and its library: clone it, and name its Snakefile."
    )
sys.path.insert(0, str(HOME / "pipeline_src"))

from plumbline.fingerprints import fingerprinted
from plumbline.handover import hand_over, handed_over, variable
from plumbline.study import REAL, StudyError, load_configuration, load_study

# Where Snakemake keeps what it knows of a folder that it runs in.
KNOWN = Path(".snakemake") / "plumbline"


def plumbline(wildcards, output):
    """The command of the library of this clone, in whatever environment a job is given.

    It takes `output` for Snakemake to count it as derived: what it is reruns nothing, for a clone may move.
    """
    library = shlex.quote(str(HOME / "pipeline_src"))
    return f"PYTHONSAFEPATH=1 PYTHONPATH={library}${{PYTHONPATH:+:$PYTHONPATH}} python -m plumbline.cli"


def environment(name):
    """The file of a conda environment, with braces doubled, which Snakemake would read as wildcards."""
    return str(HOME / "envs" / f"{name}.yaml").replace("{", "{{").replace("}", "}}")


def fresh_study(name, scale):
    """A study as its file and the files that it names are now."""
    path = HOME / "config" / "studies" / f"{name}.yaml"
    return fingerprinted(load_study(path, scale), str(path), KNOWN / "fingerprints", logger)


def checked_studies():
    """The studies of the configuration by name; what is wrong with them is said without a traceback."""
    try:
        configuration = load_configuration(config)
        loaded = None if workflow.is_main_process else handed_over(configuration)
        if loaded is None:
            loaded = [fresh_study(name, configuration.scale) for name in configuration.studies]
            hand_over(configuration, loaded, KNOWN / "studies")
    except StudyError as error:
        raise WorkflowError(str(error)) from None
    return configuration, {study.name: study for study in loaded}


CONFIGURATION, STUDIES = checked_studies()
RESULTS = CONFIGURATION.results


envvars:
    variable(CONFIGURATION),


wildcard_constraints:
    study="|".join(STUDIES),
    generator=r"[a-z][a-z0-9_]*(-step\d+)?",
    trained=r"[a-z][a-z0-9_]*-[0-9a-f]{10}",
    seed=r"\d+",
    part=r"\d{4}",
    dataset=r"[a-z0-9_]+-[0-9a-f]{10}",


# Data and trained models by their folders. Studies that ask for the same ones share them: any of these may say what to do.
DATASETS = {Path(study.dataset_folder()).name: study for study in STUDIES.values()}
TRAINED = {
    Path(study.model_folder(model)).name: (study, model)
    for study in STUDIES.values()
    for model in study.models
}


def parts(folder, count):
    return [f"{folder}/part-{part:04d}.zarr" for part in range(count)]


def parts_of_dataset(study):
    return parts(f"{RESULTS}/{study.dataset_folder()}", study.dataset.parts)


def parts_by_folder(wildcards):
    return parts_of_dataset(DATASETS[wildcards.dataset])


def slices_of_dataset(folder):
    """The studies that use the dataset in a folder, whole."""
    return [
        study.compare_slice() for study in STUDIES.values() if Path(study.dataset_folder()).name == folder
    ]


# What is rehearsed takes `output` for Snakemake to count it as derived: other metrics or studies repeat no job by themselves. A
# training compares it with what has been rehearsed.
def studies_of_dataset(wildcards, output):
    return slices_of_dataset(wildcards.dataset)


def studies_of_training(wildcards, output):
    study, _ = TRAINED[wildcards.trained]
    return slices_of_dataset(Path(study.dataset_folder()).name)


def scale(wildcards, output):
    return CONFIGURATION.scale


def rehearsal(wildcards):
    """The rehearsal of the dataset that a model is trained on."""
    study, _ = TRAINED[wildcards.trained]
    return f"{RESULTS}/rehearsals/{Path(study.dataset_folder()).name}/rehearsal.json"


def dataset_parts(wildcards):
    return parts_of_dataset(STUDIES[wildcards.study])


def sample_parts(wildcards):
    study = STUDIES[wildcards.study]
    folder = f"{RESULTS}/{study.name}/samples/{wildcards.generator}/seed{wildcards.seed}"
    return parts(folder, study.samples.parts)


def model_folder(study, model, seed):
    return f"{RESULTS}/{study.model_folder(model)}/seed{seed}"


def model_files(study, models, seed):
    """The files of these models."""
    names = ("weights.pt", "model.json", "training_log.csv")
    return [f"{model_folder(study, model, seed)}/{name}" for model in models for name in names]


def folders_of(files):
    """The folders of these models, in order."""
    return [str(Path(file).parent) for file in files if file.endswith("weights.pt")]


def gpus(study, model):
    """GPUs that a model asks a cluster for: none at the scales that a CPU is enough for, if it may choose."""
    training = study.models[model].training
    wanted = training.accelerator == "gpu" or (
        training.accelerator == "auto" and CONFIGURATION.scale == "paper"
    )
    return training.devices if wanted and training.steps else 0


def dataset_to_train_on(wildcards):
    study, _ = TRAINED[wildcards.trained]
    return parts_of_dataset(study)


def model_to_start_from(wildcards):
    """The trained model that this one starts from, if its spec names one."""
    study, model = TRAINED[wildcards.trained]
    name = study.models[model].initialise
    return model_files(study, [name], wildcards.seed) if name else []


def models_below(wildcards):
    """The trained models that this one is built with, in the order of its slice."""
    study, model = TRAINED[wildcards.trained]
    return model_files(study, study.built_with(model), wildcards.seed)


def gpus_to_train(wildcards):
    return gpus(*TRAINED[wildcards.trained])


def train_slice(wildcards):
    study, model = TRAINED[wildcards.trained]
    return study.train_slice(model)


def measuring_models(wildcards):
    """The trained models that constraints measure by: those of the generator's sampler."""
    study = STUDIES[wildcards.study]
    generator, _ = study.at_step(wildcards.generator)
    return model_files(study, study.measured_by(generator.sampler.constraint_names()), wildcards.seed)


def all_measuring_models(wildcards):
    """The trained models that any constraint or metric of the study measures by."""
    study = STUDIES[wildcards.study]
    return model_files(study, study.judged_by(), wildcards.seed)


def measuring_folders(wildcards, input):
    """The folders of the models that constraints and metrics measure by, in order."""
    return folders_of(input.measured_by)


def files_of_generator(wildcards):
    """The models that a generator draws from, or the checkpoints of the one that it draws from at a step."""
    study = STUDIES[wildcards.study]
    generator, step = study.at_step(wildcards.generator)
    if step is None:
        return model_files(study, generator.models(), wildcards.seed)
    (name,) = generator.models()
    return f"{model_folder(study, name, wildcards.seed)}/checkpoints"


def folders_of_generator(wildcards, input):
    """The folders to draw from, in order."""
    _, step = STUDIES[wildcards.study].at_step(wildcards.generator)
    return folders_of(input.models) if step is None else [f"{input.models}/step{step}"]


def gpus_to_sample(wildcards):
    study = STUDIES[wildcards.study]
    generator, _ = study.at_step(wildcards.generator)
    return min(1, gpus(study, generator.models()[0]))


def model_folders(wildcards, input):
    """The folders of the models among the inputs, in order."""
    return folders_of(input.models)


def judged_samples(wildcards):
    """The generator's samples; held-out real data has none, and is read from the dataset."""
    return [] if wildcards.generator == REAL else sample_parts(wildcards)


def all_metrics(wildcards):
    study = STUDIES[wildcards.study]
    return [
        f"{RESULTS}/{study.name}/metrics/{generator}/seed{seed}.zarr"
        for generator in (REAL, *study.generators, *study.at_checkpoints())
        for seed in study.seeds
    ]


def shown_samples(wildcards):
    """The first part of every generator, of which the report shows some samples."""
    study = STUDIES[wildcards.study]
    folder = f"{RESULTS}/{study.name}/samples"
    return [f"{folder}/{generator}/seed{study.seeds[0]}/part-0000.zarr" for generator in study.generators]


def all_models(wildcards):
    study = STUDIES[wildcards.study]
    return [file for seed in study.seeds for file in model_files(study, study.models, seed)]
