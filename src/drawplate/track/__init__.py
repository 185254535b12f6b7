"""MLflow and DVC: the only package that talks to either."""
