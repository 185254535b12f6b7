"""Only while a search is to be made: it builds generations of recipes by builds of its own."""


rule search:
    output:
        stamp="results/{model}/search/result/{key}.key",
    log:
        "logs/search/{model}.{key}.log",
    benchmark:
        "benchmarks/search/{model}.{key}.jsonl"
    localrule: True
    threads: EVERY_CORE
    resources:
        mem_mb=500,
        runtime=2880,
    params:
        job=job_file,
        output=output_folder,
        cores=cores_of_search,
    message:
        plan_in_words(plan.search)
    shell:
        "python scripts/search.py --config {params.job}"
        " {params.cores} --output {params.output} 2>&1 | tee {log}"
