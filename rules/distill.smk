rule distill:
    input:
        unpack(parents),
    output:
        stamp="artifacts/{model}/{lineage}/{key}.key",
    log:
        "logs/distill/{model}.{lineage}.{key}.log",
    benchmark:
        "benchmarks/distill/{model}.{lineage}.{key}.jsonl"
    wildcard_constraints:
        lineage=names("distill"),
    priority: 1  # measurements share the cores better once no step is left
    threads: step_threads
    resources:
        gpu=gpus_wanted,
        mem_mb=6000,
        runtime=240,
    params:
        job=job_file,
        output=output_folder,
        parent=folder_of("parent"),
        data=folder_of("data"),
        teacher=folder_of("teacher"),
        live_teacher=option("--live-teacher", "live_teacher"),
    message:
        "Distill {wildcards.lineage}"
    shell:
        "DRAWPLATE_THREADS={threads} DRAWPLATE_GPUS={resources.gpu} python scripts/distill.py --config {params.job}"
        " --parent {params.parent} --data {params.data} --teacher {params.teacher}"
        " {params.live_teacher} --output {params.output} 2>&1 | tee {log}"
