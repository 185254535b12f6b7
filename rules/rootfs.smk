rule rootfs:
    input:
        unpack(parents),
    output:
        stamp="artifacts/{model}/rootfs/{key}.key",
    log:
        "logs/rootfs/{model}.{key}.log",
    benchmark:
        "benchmarks/rootfs/{model}.{key}.jsonl"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=20,
    params:
        job=job_file,
        output=output_folder,
    message:
        "Make the base of the serving image"
    shell:
        "DRAWPLATE_THREADS={threads} python scripts/rootfs.py --config {params.job}"
        " --output {params.output} 2>&1 | tee {log}"
