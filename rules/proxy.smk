rule proxy:
    input:
        unpack(parents),
    output:
        stamp="results/{model}/search/proxy/{lineage}/{key}.key",
    log:
        "logs/proxy/{model}.{lineage}.{key}.log",
    benchmark:
        "benchmarks/proxy/{model}.{lineage}.{key}.jsonl"
    threads: 1
    resources:
        mem_mb=6000,
        runtime=60,
    params:
        job=job_file,
        output=output_folder,
        parent=folder_of("parent"),
        base=folder_of("base"),
        data=folder_of("data"),
    message:
        "Hold {wildcards.lineage} against the base, cheaply"
    shell:
        "DRAWPLATE_THREADS={threads} python scripts/proxy.py --config {params.job}"
        " --parent {params.parent} --base {params.base} --data {params.data} --output {params.output} 2>&1 | tee {log}"
