"""Artifacts on disk: folders with a manifest, written whole or not at all."""
