def all_metrics(wildcards):
    study = STUDIES[wildcards.study]
    return [
        f"{RESULTS}/{study.name}/metrics/{generator}/seed{seed}.zarr"
        for generator in (REAL, *study.generators)
        for seed in study.seeds
    ]


def shown_samples(wildcards):
    """The first part of every generator, of which the report shows some samples."""
    study = STUDIES[wildcards.study]
    folder = f"{RESULTS}/{study.name}/samples"
    return [f"{folder}/{generator}/seed{study.seeds[0]}/part-0000.zarr" for generator in study.generators]


def all_models(wildcards):
    study = STUDIES[wildcards.study]
    return [
        file for model in study.models for seed in study.seeds for file in model_files(study.name, model, seed)
    ]


rule compare:
    input:
        dataset=dataset_parts,
        metrics=all_metrics,
        samples=shown_samples,
        models=all_models,
    output:
        directory(f"{RESULTS}/{{study}}/comparison.zarr"),
    params:
        spec=lambda wildcards: STUDIES[wildcards.study].compare_slice(),
        folder=f"{RESULTS}/{{study}}",
    log:
        f"{RESULTS}/logs/compare/{{study}}.log",
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    conda:
        "../envs/evaluation.yaml"
    shell:
        "plumbline compare --spec {params.spec:q} --dataset {input.dataset:q} --results {params.folder:q}"
        " --output {output:q} --log {log:q}"


rule report:
    input:
        expand(f"{RESULTS}/{{study}}/comparison.zarr", study=STUDIES),
    output:
        report(f"{RESULTS}/report.html", caption="../docs/report_caption.rst", category="Report"),
    log:
        f"{RESULTS}/logs/report.log",
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    conda:
        "../envs/evaluation.yaml"
    shell:
        "plumbline report --comparisons {input:q} --output {output:q} --log {log:q}"
