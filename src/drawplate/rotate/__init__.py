"""The same model in another basis, where weights are spread more evenly."""
