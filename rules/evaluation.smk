rule evaluate:
    input:
        dataset=dataset_parts,
        samples=judged_samples,
        measured_by=all_measuring_models,
    output:
        directory(RESULTS / METRICS),
    log:
        "logs/evaluate/{study}-{method}-seed{seed}.log",
    conda:
        environment("evaluation")
    threads: 1
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        plumbline=plumbline,
        spec=lambda wildcards: PLANS[wildcards.study].evaluate_slice(),
        measured_by=measuring_folders,
    shell:
        "OMP_NUM_THREADS={threads} PLUMBLINE_THREADS={threads} {params.plumbline} evaluate --spec {params.spec:q}"
        " --seed {wildcards.seed} --dataset {input.dataset:q} --samples {input.samples:q}"
        " --measured-by {params.measured_by:q} --output {output:q} --log {log:q}"
