"""What running a model costs: pure functions of measured speeds and stated assumptions."""
