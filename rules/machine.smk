rule machine:
    input:
        unpack(parents),
    output:
        stamp="results/machine/{key}.key",
    log:
        "logs/machine/machine.{key}.log",
    benchmark:
        "benchmarks/machine/machine.{key}.jsonl"
    threads: EVERY_CORE
    resources:
        mem_mb=2000,
        runtime=5,
    params:
        job=job_file,
        output=output_folder,
    message:
        "Measure the machine's memory bandwidth"
    shell:
        "DRAWPLATE_THREADS={threads} python scripts/machine.py --config {params.job}"
        " --output {params.output} 2>&1 | tee {log}"
