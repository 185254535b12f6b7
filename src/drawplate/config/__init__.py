"""The configuration: composed by Hydra, checked by pydantic, plain data from there on."""
