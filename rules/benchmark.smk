rule benchmark:
    input:
        unpack(parents),
    output:
        stamp="results/{model}/variants/{variant}/benchmark/{key}.key",
    log:
        "logs/benchmark/{model}.{variant}.{key}.log",
    benchmark:
        "benchmarks/benchmark/{model}.{variant}.{key}.jsonl"
    threads: EVERY_CORE
    resources:
        gpu=gpus_wanted,
        mem_mb=6000,
        runtime=60,
    params:
        job=job_file,
        output=output_folder,
        engine=folder_of("engine"),
        machine=folder_of("machine"),
        against=option("--against", "against"),
        data=option("--data", "data"),
    message:
        "Benchmark {wildcards.variant}, alone on the machine"
    shell:
        "DRAWPLATE_THREADS={threads} DRAWPLATE_GPUS={resources.gpu} python scripts/benchmark.py --config {params.job}"
        " --engine {params.engine} {params.against} {params.data} --machine {params.machine} --output {params.output} 2>&1 | tee {log}"
