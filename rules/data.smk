rule data:
    input:
        unpack(parents),
    output:
        stamp="artifacts/{model}/data/{key}.key",
    log:
        "logs/data/{model}.{key}.log",
    benchmark:
        "benchmarks/data/{model}.{key}.jsonl"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        job=job_file,
        output=output_folder,
    message:
        "Prepare texts and tasks"
    shell:
        "DRAWPLATE_THREADS={threads} python scripts/data.py --config {params.job}"
        " --output {params.output} 2>&1 | tee {log}"
