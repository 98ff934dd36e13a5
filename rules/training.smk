rule train:
    input:
        dataset=parts_to_train_on,
        models=models_below,
        initialise=model_to_start_from,
        # A training waits for the rehearsal, but a new rehearsal does not rerun it: it changes no weights.
        rehearsal=ancient(rehearsal),
    output:
        weights=RESULTS / MODEL_FOLDER / WEIGHTS,
        card=RESULTS / MODEL_FOLDER / CARD,
        log=RESULTS / MODEL_FOLDER / LOG,
        checkpoints=directory(RESULTS / MODEL_FOLDER / CHECKPOINTS),
    log:
        "logs/train/{trained}-seed{seed}.log",
    priority: urgency("train")
    conda:
        environment("training")
    threads: processes_here
    resources:
        mem_mb=memory("train"),
        runtime=runtime("train"),
        gpu=gpus("train"),
        # A training over several machines, which only a SLURM profile can run: its job starts the tasks.
        nodes=nodes_to_train,
        tasks=tasks_to_train,
        mpi=lambda wildcards: "srun" if nodes_to_train(wildcards) else None,
        tasks_per_gpu=lambda wildcards: 0 if nodes_to_train(wildcards) else None,
    params:
        plumbline=plumbline,
        spec=train_slice,
        folder=subpath(output.weights, parent=True),
        models=model_folders,
        studies=studies_of_training,
        scale=scale,
        # The argument `output` makes Snakemake treat this parameter as derived, as it does `scale`.
        threads=lambda wildcards, output, threads: max(1, threads // processes_here(wildcards)),
        initialise=lambda wildcards, input: (
            f"--initialise {shlex.quote(str(Path(input.initialise[0]).parent))}" if input.initialise else ""
        ),
    shell:
        "OMP_NUM_THREADS={params.threads} {params.plumbline} stage train --spec {params.spec:q}"
        " --seed {wildcards.seed} --dataset {input.dataset:q} --output {params.folder:q}"
        " --models {params.models:q} --studies {params.studies:q} --rehearsal {input.rehearsal:q}"
        " --scale {params.scale} {params.initialise} --log {log:q}"
