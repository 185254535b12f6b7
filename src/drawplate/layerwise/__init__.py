"""A decoder walked through layer by layer from disk, on calibration windows."""
