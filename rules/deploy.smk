rule deploy:
    input:
        unpack(parents),
    output:
        stamp="artifacts/{model}/image/deploy/{key}.key",
    log:
        "logs/deploy/{model}.{key}.log",
    benchmark:
        "benchmarks/deploy/{model}.{key}.jsonl"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        job=job_file,
        output=output_folder,
        image=folder_of("image"),
        serve=folder_of("serve"),
    message:
        "Write what deploys the image of {wildcards.model}"
    shell:
        "DRAWPLATE_THREADS={threads} python scripts/deploy.py --config {params.job}"
        " --image {params.image} --serve {params.serve} --output {params.output} 2>&1 | tee {log}"
