rule bundle:
    input:
        unpack(parents),
    output:
        stamp="artifacts/{model}/bundles/{server}/{key}.key",
    log:
        "logs/bundle/{model}.{server}.{key}.log",
    benchmark:
        "benchmarks/bundle/{model}.{server}.{key}.jsonl"
    wildcard_constraints:
        server=names("bundle"),
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        job=job_file,
        output=output_folder,
    message:
        "Bundle a variant of {wildcards.model} for {wildcards.server}"
    shell:
        "DRAWPLATE_THREADS={threads} python scripts/bundle.py --config {params.job}"
        " --output {params.output} 2>&1 | tee {log}"


rule bundle_trial:
    input:
        unpack(parents),
    output:
        stamp="results/{model}/bundles/{server}/{key}.key",
    log:
        "logs/bundle_trial/{model}.{server}.{key}.log",
    benchmark:
        "benchmarks/bundle_trial/{model}.{server}.{key}.jsonl"
    wildcard_constraints:
        server=names("bundle"),
    threads: EVERY_CORE
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        job=job_file,
        output=output_folder,
        bundle=folder_of("bundle"),
    message:
        "Start {wildcards.server} on the bundle of {wildcards.model}"
    shell:
        "DRAWPLATE_THREADS={threads} python scripts/bundle_trial.py --config {params.job}"
        " --bundle {params.bundle} --output {params.output} 2>&1 | tee {log}"
