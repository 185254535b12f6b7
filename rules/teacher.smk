rule teacher:
    input:
        unpack(parents),
    output:
        stamp="artifacts/{model}/teachers/{teacher}/{key}.key",
    log:
        "logs/teacher/{model}.{teacher}.{key}.log",
    benchmark:
        "benchmarks/teacher/{model}.{teacher}.{key}.jsonl"
    wildcard_constraints:
        teacher=names("teacher"),
    priority: 1  # measurements share the cores better once no step is left
    threads: step_threads
    resources:
        gpu=gpus_wanted,
        mem_mb=6000,
        runtime=240,
    params:
        job=job_file,
        output=output_folder,
        parent=folder_of("parent"),
        data=folder_of("data"),
    message:
        "Ask the teacher, {wildcards.teacher}"
    shell:
        "DRAWPLATE_THREADS={threads} DRAWPLATE_GPUS={resources.gpu} python scripts/teacher.py --config {params.job}"
        " --parent {params.parent} --data {params.data} --output {params.output} 2>&1 | tee {log}"
