"""Texts and tasks: read from sources, split, checked to be disjoint, written as plain files."""
