"""The update loop: a newer base is built, held against what is served, and takes its place or not."""
