rule track:
    input:
        unpack(parents),
    output:
        stamp="results/{model}/track/{key}.key",
    log:
        "logs/track/{model}.{key}.log",
    benchmark:
        "benchmarks/track/{model}.{key}.jsonl"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        job=job_file,
        output=output_folder,
    message:
        "Track the build of {wildcards.model} in MLflow"
    shell:
        "DRAWPLATE_THREADS={threads} python scripts/track.py --config {params.job}"
        " --output {params.output} 2>&1 | tee {log}"
