rule generate:
    output:
        directory(RESULTS / DATASET_PART),
    log:
        "logs/generate/{dataset}-part{part}.log",
    priority: urgency("generate")
    conda:
        environment("data")
    threads: 1
    resources:
        mem_mb=memory("generate"),
        runtime=runtime("generate"),
    params:
        plumbline=plumbline,
        spec=lambda wildcards: DATASETS[wildcards.dataset].generate_slice(),
        part=lambda wildcards: int(wildcards.part),
    shell:
        "OMP_NUM_THREADS={threads} {params.plumbline} stage generate"
        " --spec {params.spec:q} --part {params.part} --output {output:q} --log {log:q}"
