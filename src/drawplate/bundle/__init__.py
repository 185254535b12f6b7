"""A variant as another project's server loads it, with what starts that server, and its trial."""
