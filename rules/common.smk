# The studies, checked as the Snakefile loads, and what rules ask their plans for.
import shlex
import sys
from pathlib import Path

from snakemake.logging import logger

# The workflow's own folder, above that of this file, also where another Snakefile imports the workflow as a module.
HOME = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent
# The folder that the library is imported from: that of the clone, or that of the installed package whose `workflow` this is.
LIBRARY = HOME / "pipeline_src" if (HOME / "pipeline_src").is_dir() else HOME.parents[1]
if not (LIBRARY / "plumbline" / "cli.py").is_file():
    raise WorkflowError(
        f"{HOME} is not a folder with the workflow and its library: name the Snakefile of a clone, or that of an installed "
        f"package, which `plumbline init` writes into a project's own."
    )
sys.path.insert(0, str(LIBRARY))

from plumbline.fingerprints import fingerprinted
from plumbline.handover import hand_over, handed_over, variable
from plumbline.plan import CARD, CHECKPOINT, CHECKPOINTS, LOG, WEIGHTS
from plumbline.plan import COMPARISON, DATASET_PART, METRICS, MODEL_FOLDER, REHEARSAL, REPORT, SAMPLES_PART
from plumbline.plan import Plan
from plumbline.study import REAL, StudyError, load_configuration, load_study
from plumbline.workflow_files import study_file

# Where Snakemake keeps what it knows of a folder that it runs in.
KNOWN = Path(".snakemake") / "plumbline"
# Where a project has its own studies. Those of the library are found without it.
OWN_STUDIES = Path("config") / "studies"


def library_alone():
    """A folder that holds the library and nothing else, for jobs whose environment lacks it."""
    if LIBRARY.name == "pipeline_src":
        return LIBRARY
    # A package that is installed has others beside it, which another environment must not import.
    folder = KNOWN.absolute() / "library"
    link, package = folder / "plumbline", LIBRARY / "plumbline"
    if not link.exists() or link.resolve() != package.resolve():
        folder.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(package)
    return folder


def plumbline(wildcards, output):
    """The command of the library that the workflow came with, in whatever environment a job is given.

    It takes `output` for Snakemake to count it as derived: a clone that moved repeats no job.
    """
    library = shlex.quote(str(library_alone()))
    return f"PYTHONSAFEPATH=1 PYTHONPATH={library}${{PYTHONPATH:+:$PYTHONPATH}} python -m plumbline.cli"


def environment(name):
    """The file of a conda environment, with braces doubled, which Snakemake would read as wildcards."""
    return str(HOME / "envs" / f"{name}.yaml").replace("{", "{{").replace("}", "}}")


def fresh_study(name, scale):
    """A study as its file and the files that it names are now: a project's own study, or one of the library's."""
    path = study_file(name, OWN_STUDIES)
    return fingerprinted(load_study(path, scale), str(path), KNOWN / "fingerprints", logger)


def checked_plans():
    """The configuration, and the plans of its studies by name; what is wrong with them is said without a traceback."""
    try:
        configuration = load_configuration(config)
        studies = None if workflow.is_main_process else handed_over(configuration)
        if studies is None:
            studies = [fresh_study(name, configuration.scale) for name in configuration.studies]
            hand_over(configuration, studies, KNOWN / "studies")
    except StudyError as error:
        raise WorkflowError(str(error)) from None
    results = Path(configuration.results)
    return configuration, {study.name: Plan(study, results) for study in studies}


CONFIGURATION, PLANS = checked_plans()
RESULTS = Path(CONFIGURATION.results)


envvars:
    variable(CONFIGURATION),


wildcard_constraints:
    study="|".join(PLANS),
    method=r"[a-z][a-z0-9_]*(-step\d+)?",
    trained=r"[a-z][a-z0-9_]*-[0-9a-f]{10}",
    seed=r"\d+",
    part=r"\d{4}",
    dataset=r"[a-z0-9_]+-[0-9a-f]{10}",


# Data and trained models by the names of their folders. Studies that ask for the same ones share them: any of these may say what to do.
DATASETS = {plan.dataset_name(): plan for plan in PLANS.values()}
TRAINED = {plan.trained_name(model): (plan, model) for plan in PLANS.values() for model in plan.study.models}


def slices_of_dataset(name):
    """The studies that use a dataset, whole."""
    return [plan.compare_slice() for plan in PLANS.values() if plan.dataset_name() == name]


# What is rehearsed takes `output` for Snakemake to count it as derived: other metrics or studies repeat no job by themselves. A
# training compares it with what has been rehearsed.
def studies_of_dataset(wildcards, output):
    return slices_of_dataset(wildcards.dataset)


def studies_of_training(wildcards, output):
    plan, _ = TRAINED[wildcards.trained]
    return slices_of_dataset(plan.dataset_name())


def scale(wildcards, output):
    return CONFIGURATION.scale


def dataset_parts(wildcards):
    return PLANS[wildcards.study].dataset_parts()


def parts_to_rehearse_on(wildcards):
    return DATASETS[wildcards.dataset].dataset_parts()


def parts_to_train_on(wildcards):
    plan, _ = TRAINED[wildcards.trained]
    return plan.dataset_parts()


def rehearsal(wildcards):
    """The rehearsal of the dataset that a model is trained on."""
    plan, _ = TRAINED[wildcards.trained]
    return plan.rehearsal()


def models_below(wildcards):
    """The trained models that this one is built with, in the order of its slice."""
    plan, model = TRAINED[wildcards.trained]
    return plan.model_files(plan.study.built_with(model), wildcards.seed)


def model_to_start_from(wildcards):
    """The trained model that this one starts from, if its spec names one."""
    plan, model = TRAINED[wildcards.trained]
    name = plan.study.models[model].initialise
    return plan.model_files([name], wildcards.seed) if name else []


def train_slice(wildcards):
    plan, model = TRAINED[wildcards.trained]
    return plan.train_slice(model)


def drawn_from(wildcards):
    return PLANS[wildcards.study].drawn_from(wildcards.method, wildcards.seed)


def constraint_model_files(wildcards):
    """The trained models that the constraints of the method's sampler measure by."""
    plan = PLANS[wildcards.study]
    method, _ = plan.at_step(wildcards.method)
    models = plan.study.constraint_models(method.sampler.constraint_names())
    return plan.model_files(models, wildcards.seed)


def measuring_model_files(wildcards):
    """The trained models that any constraint or metric of the study measures by."""
    plan = PLANS[wildcards.study]
    return plan.model_files(plan.measuring_models(), wildcards.seed)


def judged_samples(wildcards):
    return PLANS[wildcards.study].samples(wildcards.method, wildcards.seed)


def all_metrics(wildcards):
    plan = PLANS[wildcards.study]
    judged = (REAL, *plan.study.methods, *plan.at_checkpoints())
    return [plan.metrics(name, seed) for name in judged for seed in plan.study.seeds]


def shown_samples(wildcards):
    """The first part of every method, of which the report shows some samples."""
    plan = PLANS[wildcards.study]
    return [plan.samples(name, plan.study.seeds[0])[0] for name in plan.study.methods]


def all_models(wildcards):
    plan = PLANS[wildcards.study]
    return [file for seed in plan.study.seeds for file in plan.model_files(plan.study.models, seed)]


# Folders of models are taken from the inputs, whose paths Snakemake may have changed.
def folders_of(files):
    """The folders of these models, in order."""
    return [str(Path(file).parent) for file in files if Path(file).name == WEIGHTS]


def model_folders(wildcards, input):
    return folders_of(input.models)


def constraint_model_folders(wildcards, input):
    return folders_of(input.constraint_models)


def folders_to_draw_from(wildcards, input):
    _, step = PLANS[wildcards.study].at_step(wildcards.method)
    if step is None:
        return folders_of(input.models)
    return [str(Path(folder) / CHECKPOINT.format(step=step)) for folder in input.models]


def gpus(plan, model):
    """GPUs that a model asks a cluster for: none at the scales that a CPU is enough for, if it may choose."""
    training = plan.study.models[model].training
    wanted = training.accelerator == "gpu" or (
        training.accelerator == "auto" and CONFIGURATION.scale == "paper"
    )
    return training.devices if wanted and training.steps else 0


def gpus_to_train(wildcards):
    return gpus(*TRAINED[wildcards.trained])


def gpus_to_sample(wildcards):
    plan = PLANS[wildcards.study]
    method, _ = plan.at_step(wildcards.method)
    return min(1, gpus(plan, method.models()[0])) if method.models() else 0
