from drawplate.track.flat import MAX_PARAM_CHARACTERS, batches, params


def test_nested_values_get_dotted_names_mlflow_accepts():
    flat = params({"a": {"b": 1, "c": [1, "x"]}, "d": None, "e": {}, "f": "text", "g=h": True})
    assert flat == {
        "a.b": "1",
        "a.c": '[1, "x"]',
        "d": "null",
        "e": "{}",
        "f": "text",
        "g_h": "true",
    }


def test_long_values_are_cut_and_say_so():
    text = params({"prompt": "x" * 9000})["prompt"]
    assert len(text) == MAX_PARAM_CHARACTERS and text.endswith("... (9000 characters)")


def test_batches_keep_order_and_size():
    items = {str(i): i for i in range(250)}
    parts = list(batches(items, 100))
    assert [len(p) for p in parts] == [100, 100, 50]
    assert list(dict(kv for p in parts for kv in p.items())) == list(items)
