"""What loads where: a cell says what was loaded, only checked, or why neither."""

from drawplate.report.servers import matrix


def variant(recipe, engine, target, verify, status="ok", reason=None):
    names = {"recipe": recipe, "engine": engine, "target": target}
    return {**names, "verify": verify, "status": status, "reason": reason}


def test_each_cell_says_what_is_known():
    found = matrix(
        [
            variant("float", "vllm", "cpu", {"kl": 0.00123, "runtime": "vllm 0.32.0"}),
            variant("int4", "vllm", "cpu", None, "failed", "verify failed: noise"),
            variant("int4", "tensorrt_llm", "sm90", {"checked": {"quant_algo": "W4A16_AWQ"}}),
        ]
    )
    assert found == {
        "engines": ["vllm cpu", "tensorrt_llm sm90"],
        "recipes": ["float", "int4"],
        "cells": {
            "float": ["loads in vllm 0.32.0, KL to its checkpoint 0.0012", "not asked for"],
            "int4": [
                "failed: verify failed: noise",
                "not loaded; form checked: quant algo W4A16_AWQ",
            ],
        },
    }


def test_one_engine_needs_no_matrix():
    assert matrix([variant("float", "vllm", "cpu", None)]) is None
