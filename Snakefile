# Plumbline: generate, train, sample, evaluate, compare, report.
# What each job depends on is its slice of a study, passed as JSON; see pipeline_src/plumbline/plan.py.
from snakemake.utils import min_version

min_version("9.0")


# Everything of the workflow is found from its own folder, whatever folder it runs in and whoever imports it.
configfile: workflow.current_basedir.join("config/config.yaml").get_path_or_uri(secret_free=True)


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
