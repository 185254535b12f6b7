"""Fixed prompts of different kinds: what breaks in one often survives in another."""

PROMPTS = (
    "The capital of France is Paris. The capital of Italy is Rome. The capital of Spain is",
    'def fibonacci(n: int) -> int:\n    """Return the n-th number."""\n    if n < 2:\n'
    "        return n\n    return fibonacci(n - 1) +",
    "3.14159 2.71828 1.41421 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024,",
    "Der Zug fährt um halb neun vom Hauptbahnhof ab, und wer zu spät kommt, muss eine Stunde auf",
    "Le chat dort sur le canapé pendant que la pluie tombe doucement sur les toits de la",
    '{"name": "drawplate", "files": [{"path": "model.onnx", "bytes": 1024}, {"path": "config",',
    "It was a bright cold day in April, and the clocks were striking. The street was empty except "
    "for a man in a long coat who walked slowly towards the river, stopped at the bridge, looked "
    "down into the dark water for a while, and then turned round as if somebody had called him by "
    "his name. Nobody had. He went back the way he had come, past the closed shops, until he",
    "Question: A farmer has 17 sheep and buys 5 more. He then sells half of them. How many are "
    "left?\nAnswer: He has",
)
