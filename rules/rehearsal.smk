rule rehearse:
    input:
        dataset=parts_to_rehearse_on,
    output:
        RESULTS / REHEARSAL,
    log:
        "logs/rehearse/{dataset}.log",
    priority: urgency("rehearse")
    conda:
        environment("rehearsal")
    threads: 1
    resources:
        mem_mb=memory("rehearse"),
        runtime=runtime("rehearse"),
    params:
        plumbline=plumbline,
        studies=studies_of_dataset,
        scale=scale,
    shell:
        "OMP_NUM_THREADS={threads} {params.plumbline} stage rehearse --spec {params.studies:q}"
        " --dataset {input.dataset:q} --scale {params.scale} --output {output:q} --log {log:q}"
