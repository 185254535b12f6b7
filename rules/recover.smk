rule recover:
    input:
        unpack(parents),
    output:
        stamp="artifacts/{model}/{lineage}/{key}.key",
    log:
        "logs/recover/{model}.{lineage}.{key}.log",
    benchmark:
        "benchmarks/recover/{model}.{lineage}.{key}.jsonl"
    wildcard_constraints:
        lineage=names("recover"),
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
    message:
        "Train {wildcards.lineage}, to win back what was lost"
    shell:
        "DRAWPLATE_THREADS={threads} DRAWPLATE_GPUS={resources.gpu} python scripts/recover.py --config {params.job}"
        " --parent {params.parent} --data {params.data} --output {params.output} 2>&1 | tee {log}"
