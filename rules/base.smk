rule base:
    input:
        unpack(parents),
    output:
        stamp="artifacts/{model}/{base}/{key}.key",
    log:
        "logs/base/{model}.{base}.{key}.log",
    benchmark:
        "benchmarks/base/{model}.{base}.{key}.jsonl"
    wildcard_constraints:
        base=names("base"),
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        job=job_file,
        output=output_folder,
    message:
        "Fetch the {wildcards.base} of {wildcards.model}"
    shell:
        "DRAWPLATE_THREADS={threads} python scripts/base.py --config {params.job}"
        " --output {params.output} 2>&1 | tee {log}"
