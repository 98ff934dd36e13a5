rule sample:
    input:
        dataset=dataset_parts,
        models=files_of_generator,
        measured_by=measuring_models,
    output:
        directory(f"{RESULTS}/{{study}}/samples/{{generator}}/seed{{seed}}/part-{{part}}.zarr"),
    log:
        "logs/sample/{study}-{generator}-seed{seed}-part{part}.log",
    conda:
        environment("training")
    threads: 1
    resources:
        mem_mb=8000,
        runtime=8 * 60,
        gpu=gpus_to_sample,
    params:
        plumbline=plumbline,
        spec=lambda wildcards: STUDIES[wildcards.study].sample_slice(wildcards.generator),
        part=lambda wildcards: int(wildcards.part),
        model=folders_of_generator,
        measured_by=measuring_folders,
    shell:
        "OMP_NUM_THREADS={threads} PLUMBLINE_THREADS={threads} {params.plumbline} sample --spec {params.spec:q}"
        " --seed {wildcards.seed} --part {params.part} --dataset {input.dataset:q} --model {params.model:q}"
        " --measured-by {params.measured_by:q} --output {output:q} --log {log:q}"
