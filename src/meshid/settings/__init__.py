"""Settings: variables, a directory, a file; each value with its origin."""
