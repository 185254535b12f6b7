"""The `drawplate` command: one module a subcommand, imported when called."""
