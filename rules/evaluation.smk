def judged_samples(wildcards):
    """The generator's samples; held-out real data has none, and is read from the dataset."""
    return [] if wildcards.generator == REAL else sample_parts(wildcards)


rule evaluate:
    input:
        dataset=dataset_parts,
        samples=judged_samples,
    output:
        directory(f"{RESULTS}/{{study}}/metrics/{{generator}}/seed{{seed}}.zarr"),
    params:
        spec=lambda wildcards: STUDIES[wildcards.study].evaluate_slice(),
    log:
        f"{RESULTS}/logs/evaluate/{{study}}-{{generator}}-seed{{seed}}.log",
    threads: 1
    resources:
        mem_mb=8000,
        runtime=120,
    conda:
        "../envs/evaluation.yaml"
    shell:
        "OMP_NUM_THREADS={threads} PLUMBLINE_THREADS={threads} plumbline evaluate --spec {params.spec:q}"
        " --seed {wildcards.seed} --dataset {input.dataset:q} --samples {input.samples:q}"
        " --output {output:q} --log {log:q}"
