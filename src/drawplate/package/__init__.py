"""From an engine that passed its gate to an image that serves it, and that image tried."""
