rule compare:
    input:
        dataset=dataset_parts,
        metrics=all_metrics,
        samples=shown_samples,
        models=all_models,
        tunings=all_tunings,
    output:
        directory(RESULTS / COMPARISON),
    log:
        "logs/compare/{study}.log",
    priority: urgency("compare")
    conda:
        environment("evaluation")
    threads: 1
    resources:
        mem_mb=memory("compare"),
        runtime=runtime("compare"),
    params:
        plumbline=plumbline,
        spec=lambda wildcards: PLANS[wildcards.study].compare_slice(),
        results=subpath(output[0], ancestor=2),
    shell:
        "{params.plumbline} stage compare --spec {params.spec:q} --results {params.results:q}"
        " --output {output:q} --log {log:q}"


rule report:
    input:
        [plan.comparison() for plan in PLANS.values()],
    output:
        report(RESULTS / REPORT, caption="../docs/report_caption.rst", category="Report"),
    log:
        "logs/report.log",
    priority: urgency("report")
    conda:
        environment("evaluation")
    threads: 1
    resources:
        mem_mb=memory("report"),
        runtime=runtime("report"),
    params:
        plumbline=plumbline,
    shell:
        "{params.plumbline} stage report --comparisons {input:q} --output {output:q} --log {log:q}"
