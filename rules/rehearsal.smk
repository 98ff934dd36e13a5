rule rehearse:
    input:
        dataset=parts_to_rehearse_on,
    output:
        RESULTS / REHEARSAL,
    log:
        "logs/rehearse/{dataset}.log",
    conda:
        environment("rehearsal")
    threads: 1
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        plumbline=plumbline,
        studies=studies_of_dataset,
        scale=scale,
    shell:
        "OMP_NUM_THREADS={threads} {params.plumbline} stage rehearse --spec {params.studies:q}"
        " --dataset {input.dataset:q} --scale {params.scale} --output {output:q} --log {log:q}"
