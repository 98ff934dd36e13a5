rule tune:
    input:
        dataset=dataset_parts,
        models=tuned_from,
        measuring_models=tuning_model_files,
    output:
        RESULTS / TUNING,
    log:
        "logs/tune/{study}-{method}.log",
    priority: urgency("tune")
    conda:
        environment("rehearsal")
    threads: 1
    resources:
        mem_mb=memory("tune"),
        runtime=runtime("tune"),
        gpu=gpus("tune"),
    params:
        plumbline=plumbline,
        spec=lambda wildcards: PLANS[wildcards.study].tune_slice(wildcards.method),
        seed=lambda wildcards: PLANS[wildcards.study].study.seeds[0],
        model=model_folders,
        measuring_models=measuring_model_folders,
    shell:
        "OMP_NUM_THREADS={threads} {params.plumbline} stage tune --spec {params.spec:q}"
        " --seed {params.seed} --dataset {input.dataset:q} --model {params.model:q}"
        " --measuring-models {params.measuring_models:q} --output {output:q} --log {log:q}"


rule sample:
    input:
        dataset=dataset_parts,
        models=drawn_from,
        constraint_models=constraint_model_files,
        tuning=tuned_by,
    output:
        directory(RESULTS / SAMPLES_PART),
    log:
        "logs/sample/{study}-{method}-seed{seed}-part{part}.log",
    priority: urgency("sample")
    conda:
        environment("training")
    threads: 1
    resources:
        mem_mb=memory("sample"),
        runtime=runtime("sample"),
        gpu=gpus("sample"),
    params:
        plumbline=plumbline,
        spec=lambda wildcards: PLANS[wildcards.study].sample_slice(wildcards.method),
        part=lambda wildcards: int(wildcards.part),
        model=folders_to_draw_from,
        constraint_models=constraint_model_folders,
    shell:
        "OMP_NUM_THREADS={threads} {params.plumbline} stage sample --spec {params.spec:q}"
        " --seed {wildcards.seed} --part {params.part} --dataset {input.dataset:q} --model {params.model:q}"
        " --constraint-models {params.constraint_models:q} --tuning {input.tuning:q} --output {output:q}"
        " --log {log:q}"
