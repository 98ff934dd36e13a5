# Plumbline: generate, train, sample, evaluate, compare, report.
# Each job receives its slice of a study as JSON, which contains everything that it depends on. See
# pipeline_src/plumbline/plan.py.
from snakemake.utils import min_version

min_version("9.0")


# Paths start at the workflow's own folder, for any working directory and any Snakefile that imports it.
configfile: workflow.current_basedir.join("config/config.yaml").get_path_or_uri(secret_free=True)


include: "rules/scheduler.smk"
include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/rehearsal.smk"
include: "rules/training.smk"
include: "rules/sampling.smk"
include: "rules/evaluation.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        RESULTS / REPORT,
