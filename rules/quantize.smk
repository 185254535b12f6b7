rule quantize:
    input:
        unpack(parents),
    output:
        stamp="artifacts/{model}/{lineage}/{key}.key",
    log:
        "logs/quantize/{model}.{lineage}.{key}.log",
    benchmark:
        "benchmarks/quantize/{model}.{lineage}.{key}.jsonl"
    wildcard_constraints:
        lineage=names("quantize"),
    priority: 1  # measurements share the cores better once no step is left
    threads: step_threads
    resources:
        mem_mb=6000,
        runtime=240,
    params:
        job=job_file,
        output=output_folder,
        parent=folder_of("parent"),
        data=folder_of("data"),
    message:
        "Quantize {wildcards.lineage}"
    shell:
        "DRAWPLATE_THREADS={threads} python scripts/quantize.py --config {params.job}"
        " --parent {params.parent} --data {params.data} --output {params.output} 2>&1 | tee {log}"
