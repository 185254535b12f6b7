"""No test reads or writes the MLflow of whoever runs them, nor one that an earlier test named."""

import os

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    # mlflow.set_registry_uri and its like write these into the environment, and take nothing back.
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        os.environ.pop(name, None)
