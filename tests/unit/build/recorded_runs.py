"""What real runs took, for the tests of predictions."""

# Peaks of the default builds on an AMD EPYC with two cores, the commit before these models of cost:
# `peak_rss_bytes` and `seconds` of each record, MB and s.
RECORDED_VARIANTS = (
    "variants=[float/onnxruntime,int8/onnxruntime,int4/onnxruntime,"
    "float/openvino,int8/openvino,int4/openvino]"
)
RECORDED = {
    "smollm2": {
        "base base": (1229, 24),
        "quantize base.int8": (1606, 4),
        "quantize base.int4": (1990, 174),
        "compile base/onnxruntime-cpu": (1884, 9),
        "compile base.int8/onnxruntime-cpu": (2590, 12),
        "compile base.int4/onnxruntime-cpu": (2721, 14),
        "compile base/openvino-cpu": (1234, 14),
        "compile base.int8/openvino-cpu": (2616, 17),
        "compile base.int4/openvino-cpu": (2839, 21),
        "verify float-onnxruntime-cpu": (2597, 21),
        "verify int8-onnxruntime-cpu": (1941, 18),
        "verify int4-onnxruntime-cpu": (1832, 19),
        "verify float-openvino-cpu": (3808, 27),
        "verify int8-openvino-cpu": (2247, 21),
        "verify int4-openvino-cpu": (2039, 24),
        "evaluate float-onnxruntime-cpu": (3653, 103),
        "evaluate int8-onnxruntime-cpu": (2825, 87),
        "evaluate int4-onnxruntime-cpu": (2579, 97),
        "evaluate float-openvino-cpu": (4038, 118),
        "evaluate int8-openvino-cpu": (2735, 81),
        "evaluate int4-openvino-cpu": (2330, 95),
        "benchmark float-onnxruntime-cpu": (872, 24),
        "benchmark int8-onnxruntime-cpu": (872, 42),
        "benchmark int4-onnxruntime-cpu": (871, 41),
        "benchmark float-openvino-cpu": (1723, 27),
        "benchmark int8-openvino-cpu": (1726, 43),
        "benchmark int4-openvino-cpu": (1724, 44),
        "data data": (101, 8),
        "machine machine": (574, 1),
        "track track": (254, 3),
    },
    "minilm": {
        "base base": (537, 5),
        "quantize base.int8": (583, 3),
        "compile base/onnxruntime-cpu": (724, 12),
        "compile base.int8/onnxruntime-cpu": (823, 12),
        "compile base/transformers-cpu": (370, 1),
        "verify float-transformers-cpu": (558, 4),
        "verify float-onnxruntime-cpu": (596, 4),
        "verify int8-onnxruntime-cpu": (661, 4),
        "evaluate float-transformers-cpu": (731, 13),
        "evaluate float-onnxruntime-cpu": (619, 12),
        "evaluate int8-onnxruntime-cpu": (605, 10),
        "benchmark float-transformers-cpu": (544, 7),
        "benchmark float-onnxruntime-cpu": (210, 2),
        "benchmark int8-onnxruntime-cpu": (210, 4),
        "data data": (88, 2),
    },
}
# Peaks of docs/chains.md on the same machine (all-weight training in float32 on the pruned model), and
# of a teacher that was asked 3,072 tokens. Times are left out: other work ran beside.
RECORDED_TREE = {
    ("prune base.w75", ()): 1830,
    ("prune base.w75", ("+prune.score=magnitude", "+prune.refit=none")): 1260,
    ("distill base.w75.kd", ("+distill.trained=all", "+distill.precision=float32")): 3900,
    ("teacher base", ()): 1890,
}
# Peaks of a random Llama of a hundred thousand parameters on the same machine: what runtimes take.
TINY = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 500,
}
RECORDED_TINY = {
    "base base": 239,
    "quantize base.int8": 414,
    "quantize base.int4": 436,
    "compile base/onnxruntime-cpu": 462,
    "compile base.int4/onnxruntime-cpu": 478,
    "compile base.int8/openvino-cpu": 488,
    "verify float-onnxruntime-cpu": 490,
    "verify int4-onnxruntime-cpu": 504,
    "verify int8-openvino-cpu": 503,
    "evaluate float-onnxruntime-cpu": 639,
    "evaluate int4-onnxruntime-cpu": 641,
    "evaluate int8-openvino-cpu": 647,
    "benchmark float-onnxruntime-cpu": 75,
    "benchmark int4-onnxruntime-cpu": 75,
    "benchmark int8-openvino-cpu": 110,
}
# Files of the same builds' artifacts, MB.
STORED = {
    "smollm2": {
        "base base": 542,
        "quantize base.int8": 203,
        "quantize base.int4": 150,
        "compile base/onnxruntime-cpu": 544,
        "compile base.int8/onnxruntime-cpu": 214,
        "compile base.int4/openvino-cpu": 151,
    },
    "minilm": {"base base": 92, "quantize base.int8": 37, "compile base/onnxruntime-cpu": 92},
}
