rule train:
    input:
        dataset=dataset_parts,
        models=models_below,
        initialise=model_to_start_from,
    output:
        weights=f"{RESULTS}/{{study}}/models/{{model}}/seed{{seed}}/weights.pt",
        card=f"{RESULTS}/{{study}}/models/{{model}}/seed{{seed}}/model.json",
        log=f"{RESULTS}/{{study}}/models/{{model}}/seed{{seed}}/training_log.csv",
        checkpoints=directory(f"{RESULTS}/{{study}}/models/{{model}}/seed{{seed}}/checkpoints"),
    log:
        "logs/train/{study}-{model}-seed{seed}.log",
    conda:
        "../envs/training.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=24 * 60,
        gpu=lambda wildcards: gpus(wildcards, wildcards.model),
    params:
        spec=lambda wildcards: STUDIES[wildcards.study].train_slice(wildcards.model),
        folder=subpath(output.weights, parent=True),
        models=model_folders,
        initialise=lambda wildcards, input: (
            f"--initialise {Path(input.initialise[0]).parent}" if input.initialise else ""
        ),
    shell:
        "OMP_NUM_THREADS={threads} PLUMBLINE_THREADS={threads} plumbline train --spec {params.spec:q}"
        " --seed {wildcards.seed} --dataset {input.dataset:q} --output {params.folder:q}"
        " --models {params.models:q} {params.initialise} --log {log:q}"
