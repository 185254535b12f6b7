rule harvest:
    input:
        unpack(parents),
    output:
        stamp="results/{model}/search/harvest/{key}.key",
    log:
        "logs/harvest/{model}.{key}.log",
    benchmark:
        "benchmarks/harvest/{model}.{key}.jsonl"
    localrule: True
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        job=job_file,
        output=output_folder,
    message:
        "Write the recipes that the search of {wildcards.model} found"
    shell:
        "python scripts/harvest.py --config {params.job}"
        " --output {params.output} 2>&1 | tee {log}"
