# Validates the studies as the Snakefile loads, and defines the functions with which rules query their plans.
import gc
import os
import shlex
import sys
from functools import cache
from pathlib import Path

from snakemake.io import IOFile
from snakemake.logging import logger

# Jobs are many small objects that stay to the end: with the default of 700 objects, the search for garbage takes
# a quarter of the time that Snakemake needs to list its jobs.
gc.set_threshold(100_000, *gc.get_threshold()[1:])

# The workflow's folder: the parent of this file's folder, even if another Snakefile imports it as a module.
HOME = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent
# The folder to import the library from: in a clone, or of the installed package that contains this workflow.
LIBRARY = HOME / "pipeline_src" if (HOME / "pipeline_src").is_dir() else HOME.parents[1]
if not (LIBRARY / "plumbline" / "cli.py").is_file():
    raise WorkflowError(
        f"{HOME} is not a folder with the workflow and its library: use the Snakefile of a clone or of an "
        f"installed package. The Snakefile that `plumbline init` writes into a project names the right one."
    )
sys.path.insert(0, str(LIBRARY))

from plumbline.estimates import FOLDER as ESTIMATES
from plumbline.estimating import RunRequests
from plumbline.fingerprints import CACHE, fingerprinted
from plumbline.forkserver.client import VARIABLE as FORK_SERVER
from plumbline.handover import hand_over, handed_over, variable
from plumbline.plan import CARD, CHECKPOINT, CHECKPOINTS, LOG, WEIGHTS
from plumbline.plan import COMPARISON, DATASET_PART, METRICS, MODEL_FOLDER, REHEARSAL, REPORT, SAMPLES_PART
from plumbline.plan import TUNING
from plumbline.plan import plans_of
from plumbline.study import REAL, StudyError, load_configuration, load_study
from plumbline.workflow_files import studies_named, study_file

# Cached data of this working directory, in Snakemake's folder.
KNOWN = Path(".snakemake") / "plumbline"
# The folder of a project's own studies. Studies of the library need no such folder.
OWN_STUDIES = Path(workflow.basedir) / "config" / "studies"


@cache
def library_alone():
    """A folder that contains only the library, for jobs whose environment lacks it."""
    if LIBRARY.name == "pipeline_src":
        return LIBRARY
    # An installed package has other packages beside it, which another environment must not import.
    folder = KNOWN.absolute() / "library"
    link, package = folder / "plumbline", LIBRARY / "plumbline"
    if not link.exists() or link.resolve() != package.resolve():
        folder.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(package)
    return folder


def plumbline(wildcards, output):
    """The command of the workflow's own library, for the environment of any job.

    It runs `python -m plumbline.cli`, in a fork of the fork server if there is one (see `plumbline.forkserver`).
    The argument `output` makes Snakemake treat the parameter as derived: moving a clone reruns no job.
    """
    library = shlex.quote(str(library_alone()))
    client = f"{library}/plumbline/forkserver/client.py"
    return f"PYTHONSAFEPATH=1 PYTHONPATH={library}${{PYTHONPATH:+:$PYTHONPATH}} python -IS {client}"


def environment(name):
    """The file of a conda environment. Braces are doubled, because Snakemake would read them as wildcards."""
    return str(HOME / "envs" / f"{name}.yaml").replace("{", "{{").replace("}", "}}")


def fresh_study(name, scale):
    """Loads a study of the project or the library, with fingerprints of the current contents of its files."""
    path = study_file(name, OWN_STUDIES)
    return fingerprinted(load_study(path, scale), str(path), CACHE, logger)


def checked_plans():
    """The configuration, and the plans of its studies by name. Errors are reported without a traceback."""
    try:
        configuration = load_configuration(config)
        studies = None if workflow.is_main_process else handed_over(configuration)
        if studies is None:
            names = studies_named(configuration.studies, OWN_STUDIES)
            studies = [fresh_study(name, configuration.scale) for name in names]
            hand_over(configuration, studies, KNOWN / "studies")
        return configuration, plans_of(studies, Path(configuration.results))
    except StudyError as error:
        raise WorkflowError(str(error)) from None


CONFIGURATION, PLANS = checked_plans()
RESULTS = Path(CONFIGURATION.results)


envvars:
    variable(CONFIGURATION),


# Jobs of a local run are forks of one process, which ends with this one. Jobs on other machines are not.
if workflow.is_main_process and os.environ.get(FORK_SERVER) != "off":
    os.environ[FORK_SERVER] = str(os.getpid())
elif workflow.remote_exec:
    os.environ.pop(FORK_SERVER, None)


wildcard_constraints:
    study="|".join(PLANS),
    method=r"[a-z][a-z0-9_]*(-step\d+)?",
    trained=r"[a-z][a-z0-9_]*-[0-9a-f]{10}",
    seed=r"\d+",
    part=r"\d{4}",
    dataset=r"[a-z0-9_]+-[0-9a-f]{10}",


# Plans by the folder names of datasets and trained models. If several studies share a folder, any of their
# plans describes the job.
DATASETS = {plan.dataset_name(): plan for plan in PLANS.values()}
TRAINED = {plan.trained_name(model): (plan, model) for plan in PLANS.values() for model in plan.study.models}


@cache
def slices_of_dataset(name):
    """The slices of all studies that use a dataset. Each slice is the whole study."""
    return [plan.compare_slice() for plan in PLANS.values() if plan.dataset_name() == name]


# The argument `output` makes Snakemake treat these parameters as derived: other metrics or studies rerun no
# job. A training compares its studies with those that have been rehearsed.
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
    take_as_whole(plan.rehearsal())
    return plan.rehearsal()


@cache
def take_as_whole(file):
    """Removes Snakemake's mark that a job was interrupted, if the job had written its file.

    If Snakemake was killed after a rehearsal and before it noted its end, it repeats the rehearsal. It then plans
    no job that depends on the file as `ancient`, even if the outputs of that job are missing, and ends as if all
    was done (9.27.1, `DAG.update_needrun`). A rehearsal is renamed when it is complete: one that exists is whole.
    """
    if workflow.is_main_process and Path(file).is_file():
        output = IOFile(str(file))
        if workflow.persistence._filter_incomplete_keys([str(file)]):
            workflow.persistence.cleanup_metadata(output)


def models_below(wildcards):
    """The files of the trained models that this model is built with, in the order of its slice."""
    plan, model = TRAINED[wildcards.trained]
    return plan.model_files(plan.study.built_with(model), wildcards.seed)


def model_to_start_from(wildcards):
    """The files of the trained model that this model starts from, if its spec names one."""
    plan, model = TRAINED[wildcards.trained]
    name = plan.study.models[model].initialise
    return plan.model_files([name], wildcards.seed) if name else []


def train_slice(wildcards):
    plan, model = TRAINED[wildcards.trained]
    return plan.train_slice(model)


def tuned_from(wildcards):
    """The files of the method's trained models with the first seed, with which it is tuned."""
    plan = PLANS[wildcards.study]
    return plan.model_files(plan.study.methods[wildcards.method].models(), plan.study.seeds[0])


def tuning_model_files(wildcards):
    """The files of the trained models that any constraint, or the metric to tune by, uses."""
    plan = PLANS[wildcards.study]
    return plan.model_files(plan.tuning_models(), plan.study.seeds[0])


def tuned_by(wildcards):
    """The record of the method's tuning, if it is tuned."""
    return PLANS[wildcards.study].tuned_by(wildcards.method)


def all_tunings(wildcards):
    plan = PLANS[wildcards.study]
    return [plan.tuning(name) for name in plan.swept()]


def drawn_from(wildcards):
    return PLANS[wildcards.study].drawn_from(wildcards.method, wildcards.seed)


def constraint_model_files(wildcards):
    """The files of the trained models that the constraints of the method's sampler use."""
    plan = PLANS[wildcards.study]
    method, _ = plan.at_step(wildcards.method)
    models = plan.study.constraint_models(method.sampler.constraint_names())
    return plan.model_files(models, wildcards.seed)


def measuring_model_files(wildcards):
    """The files of the trained models that any constraint or metric of the study uses."""
    plan = PLANS[wildcards.study]
    return plan.model_files(plan.measuring_models(), wildcards.seed)


def judged_samples(wildcards):
    return PLANS[wildcards.study].samples(wildcards.method, wildcards.seed)


def all_metrics(wildcards):
    plan = PLANS[wildcards.study]
    evaluated = (REAL, *plan.study.methods, *plan.at_checkpoints())
    return [plan.metrics(name, seed) for name in evaluated for seed in plan.study.seeds]


def shown_samples(wildcards):
    """The first part of every method's samples. The report shows some of them."""
    plan = PLANS[wildcards.study]
    return [plan.samples(name, plan.study.seeds[0])[0] for name in plan.study.methods]


def all_models(wildcards):
    plan = PLANS[wildcards.study]
    return [file for seed in plan.study.seeds for file in plan.model_files(plan.study.models, seed)]


# Folders of models are derived from the inputs, because Snakemake may have changed their paths.
def folders_of(files):
    """The folders of these models, in order."""
    return [str(Path(file).parent) for file in files if Path(file).name == WEIGHTS]


def model_folders(wildcards, input):
    return folders_of(input.models)


def measuring_model_folders(wildcards, input):
    return folders_of(input.measuring_models)


def constraint_model_folders(wildcards, input):
    return folders_of(input.constraint_models)


def folders_to_draw_from(wildcards, input):
    _, step = PLANS[wildcards.study].at_step(wildcards.method)
    if step is None:
        return folders_of(input.models)
    return [str(Path(folder) / CHECKPOINT.format(step=step)) for folder in input.models]


def training_of(wildcards):
    plan, model = TRAINED[wildcards.trained]
    return plan.study.models[model].training


def processes_here(wildcards):
    """The number of processes that a training starts on its own machine, each with a core."""
    training = training_of(wildcards)
    return training.devices if training.steps and training.nodes == 1 else 1


def nodes_to_train(wildcards):
    """The number of machines of a training over several; None for one machine."""
    training = training_of(wildcards)
    return training.nodes if training.steps and training.nodes > 1 else None


def tasks_to_train(wildcards):
    nodes = nodes_to_train(wildcards)
    return nodes * training_of(wildcards).devices if nodes else None


# What the jobs ask for, by the remembered estimates of the studies, or by fixed amounts.
REQUESTS = RunRequests(list(PLANS.values()), CONFIGURATION.resources, CONFIGURATION.scale, ESTIMATES, logger)
# What the job of each rule is for, as named in the requests.
JOBS = {
    "generate": lambda wildcards: wildcards.dataset,
    "rehearse": lambda wildcards: wildcards.dataset,
    "train": lambda wildcards: wildcards.trained,
    "tune": lambda wildcards: f"{wildcards.study}/{wildcards.method}",
    "sample": lambda wildcards: f"{wildcards.study}/{wildcards.method}",
    "evaluate": lambda wildcards: f"{wildcards.study}/{wildcards.method}",
    "compare": lambda wildcards: wildcards.study,
    "report": lambda wildcards: "",
}


def starts_jobs():
    """Whether Snakemake asks in order to start jobs. It has no scheduler while it loads or plans."""
    planned = workflow.is_main_process and workflow.scheduler is not None
    return planned and not (workflow.dryrun or workflow.touch)


def request(rule, wildcards):
    """What a job of the rule asks for.

    Studies without an estimate are estimated as soon as jobs start: in the background, since only priorities
    matter to a local run, or at once if a cluster or a limit of `--resources` needs the amounts.
    """
    if starts_jobs():
        limited = set(workflow.global_resources) - {"_cores", "_nodes"}
        if REQUESTS.refreshed(wait=bool(limited) or not workflow.local_exec):
            workflow.dag.update_priority()
    return REQUESTS.of(rule, JOBS[rule](wildcards))


def memory(rule):
    """The memory (MB) that a job of the rule asks for, as a function of its wildcards."""
    return lambda wildcards, attempt: request(rule, wildcards).mem_mb(attempt)


def runtime(rule):
    """The time (min) that a job of the rule asks for, as a function of its wildcards."""
    return lambda wildcards, attempt: request(rule, wildcards).runtime(attempt)


def gpus(rule):
    """The number of GPUs that a job of the rule asks for, as a function of its wildcards."""
    return lambda wildcards: request(rule, wildcards).gpus


def urgency(rule):
    """The priority of a job: the longest path from it to the report (s), as a function of its wildcards."""
    return lambda wildcards: REQUESTS.of(rule, JOBS[rule](wildcards)).priority
