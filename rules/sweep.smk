rule sweep:
    input:
        unpack(parents),
    output:
        stamp="results/{model}/sweep/{key}.key",
    log:
        "logs/sweep/{model}.{key}.log",
    benchmark:
        "benchmarks/sweep/{model}.{key}.jsonl"
    threads: EVERY_CORE
    resources:
        gpu=gpus_wanted,
        mem_mb=6000,
        runtime=30,
    params:
        job=job_file,
        output=output_folder,
    message:
        "Time one variant of {wildcards.model} at many batch sizes"
    shell:
        "DRAWPLATE_THREADS={threads} DRAWPLATE_GPUS={resources.gpu} python scripts/sweep.py --config {params.job}"
        " --output {params.output} 2>&1 | tee {log}"
