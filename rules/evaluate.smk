rule evaluate:
    input:
        unpack(parents),
    output:
        stamp="results/{model}/variants/{variant}/evaluate/{key}.key",
    log:
        "logs/evaluate/{model}.{variant}.{key}.log",
    benchmark:
        "benchmarks/evaluate/{model}.{variant}.{key}.jsonl"
    threads: 1
    resources:
        gpu=gpus_wanted,
        mem_mb=6000,
        runtime=120,
    params:
        job=job_file,
        output=output_folder,
        engine=folder_of("engine"),
        base=folder_of("base"),
        data=folder_of("data"),
        target=option("--target", "target"),
        target_evaluate=option("--target-evaluate", "target_evaluate"),
        source_evaluate=option("--source-evaluate", "source_evaluate"),
    message:
        "Evaluate {wildcards.variant} through its engine"
    shell:
        "DRAWPLATE_THREADS={threads} DRAWPLATE_GPUS={resources.gpu} python scripts/evaluate.py --config {params.job}"
        " --engine {params.engine} --base {params.base} --data {params.data} {params.target} {params.target_evaluate} {params.source_evaluate} --output {params.output} 2>&1 | tee {log}"
