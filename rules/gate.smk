rule gate:
    input:
        unpack(parents),
    output:
        stamp="results/{model}/variants/{variant}/gate/{key}.key",
    log:
        "logs/gate/{model}.{variant}.{key}.log",
    benchmark:
        "benchmarks/gate/{model}.{variant}.{key}.jsonl"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        job=job_file,
        output=output_folder,
        engine=folder_of("engine"),
        verify=folder_of("verify"),
        evaluate=folder_of("evaluate"),
        benchmark=option("--benchmark", "benchmark"),
        base_evaluate=option("--base-evaluate", "base_evaluate"),
        parent_engine=option("--parent-engine", "parent_engine"),
    message:
        "Judge {wildcards.variant}"
    shell:
        "DRAWPLATE_THREADS={threads} python scripts/gate.py --config {params.job}"
        " --engine {params.engine} --verify {params.verify} --evaluate {params.evaluate} {params.benchmark} {params.base_evaluate} {params.parent_engine} --output {params.output} 2>&1 | tee {log}"
