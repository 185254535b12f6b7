rule report:
    input:
        unpack(parents),
    output:
        stamp="results/{model}/{key}.key",
    log:
        "logs/report/{model}.{key}.log",
    benchmark:
        "benchmarks/report/{model}.{key}.jsonl"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        job=job_file,
        output=output_folder,
    message:
        "Report on {wildcards.model}"
    shell:
        "DRAWPLATE_THREADS={threads} python scripts/report.py --config {params.job}"
        " --output {params.output} 2>&1 | tee {log}"
