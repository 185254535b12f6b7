rule verify:
    input:
        unpack(parents),
    output:
        stamp="results/{model}/variants/{variant}/verify/{key}.key",
    log:
        "logs/verify/{model}.{variant}.{key}.log",
    benchmark:
        "benchmarks/verify/{model}.{variant}.{key}.jsonl"
    threads: 1
    resources:
        gpu=gpus_wanted,
        mem_mb=4000,
        runtime=30,
    params:
        job=job_file,
        output=output_folder,
        parent=folder_of("parent"),
        engine=folder_of("engine"),
    message:
        "Verify {wildcards.variant} against its checkpoint"
    shell:
        "DRAWPLATE_THREADS={threads} DRAWPLATE_GPUS={resources.gpu} python scripts/verify.py --config {params.job}"
        " --parent {params.parent} --engine {params.engine} --output {params.output} 2>&1 | tee {log}"
