"""Quality of an engine, measured through the engine itself, and paired with another's."""
