rule serve:
    input:
        unpack(parents),
    output:
        stamp="results/{model}/serve/{key}.key",
    log:
        "logs/serve/{model}.{key}.log",
    benchmark:
        "benchmarks/serve/{model}.{key}.jsonl"
    threads: EVERY_CORE
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        job=job_file,
        output=output_folder,
        image=folder_of("image"),
    message:
        "Run the image of {wildcards.model}"
    shell:
        "DRAWPLATE_THREADS={threads} python scripts/serve.py --config {params.job}"
        " --image {params.image} --output {params.output} 2>&1 | tee {log}"
