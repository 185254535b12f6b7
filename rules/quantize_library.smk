rule quantize_library:
    input:
        unpack(parents),
    output:
        stamp="artifacts/{model}/{lineage}/{key}.key",
    log:
        "logs/quantize_library/{model}.{lineage}.{key}.log",
    benchmark:
        "benchmarks/quantize_library/{model}.{lineage}.{key}.jsonl"
    wildcard_constraints:
        lineage=names("quantize_library"),
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
        "Quantize {wildcards.lineage} by llm-compressor"
    shell:
        "DRAWPLATE_THREADS={threads} python scripts/quantize_library.py --config {params.job}"
        " --parent {params.parent} --data {params.data} --output {params.output} 2>&1 | tee {log}"
