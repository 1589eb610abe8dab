"""The mesh port: mutual TLS in front of a plain service, and its operation."""
