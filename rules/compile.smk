rule compile:
    input:
        unpack(parents),
    output:
        stamp="artifacts/{model}/{lineage}/engines/{engine}/{key}.key",
    log:
        "logs/compile/{model}.{lineage}.{engine}.{key}.log",
    benchmark:
        "benchmarks/compile/{model}.{lineage}.{engine}.{key}.jsonl"
    threads: 1
    resources:
        gpu=gpus_wanted,
        mem_mb=8000,
        runtime=60,
    params:
        job=job_file,
        output=output_folder,
        parent=folder_of("parent"),
        draft=option("--draft", "draft"),
        source=option("--source", "source"),
        source_gate=option("--source-gate", "source_gate"),
    message:
        "Compile {wildcards.lineage} for {wildcards.engine}"
    shell:
        "DRAWPLATE_THREADS={threads} DRAWPLATE_GPUS={resources.gpu} python scripts/compile.py --config {params.job}"
        " --parent {params.parent} {params.draft} {params.source} {params.source_gate} --output {params.output} 2>&1 | tee {log}"
