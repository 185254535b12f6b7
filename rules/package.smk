rule package:
    input:
        unpack(parents),
    output:
        stamp="artifacts/{model}/image/{key}.key",
    log:
        "logs/package/{model}.{key}.log",
    benchmark:
        "benchmarks/package/{model}.{key}.jsonl"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        job=job_file,
        output=output_folder,
        data=folder_of("data"),
        rootfs=option("--rootfs", "rootfs"),
    message:
        "Package the variant of {wildcards.model} that is worth serving"
    shell:
        "DRAWPLATE_THREADS={threads} python scripts/package.py --config {params.job}"
        " --data {params.data} {params.rootfs} --output {params.output} 2>&1 | tee {log}"
