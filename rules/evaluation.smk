rule evaluate:
    input:
        dataset=dataset_parts,
        samples=judged_samples,
        models=measuring_model_files,
    output:
        directory(RESULTS / METRICS),
    log:
        "logs/evaluate/{study}-{method}-seed{seed}.log",
    priority: urgency("evaluate")
    conda:
        environment("evaluation")
    threads: 1
    resources:
        mem_mb=memory("evaluate"),
        runtime=runtime("evaluate"),
        gpu=gpus("evaluate"),
    params:
        plumbline=plumbline,
        spec=lambda wildcards: PLANS[wildcards.study].evaluate_slice(),
        models=model_folders,
    shell:
        "OMP_NUM_THREADS={threads} {params.plumbline} stage evaluate --spec {params.spec:q}"
        " --seed {wildcards.seed} --dataset {input.dataset:q} --samples {input.samples:q}"
        " --models {params.models:q} --output {output:q} --log {log:q}"
