"""The SPIFFE Workload API as a source, as SPIRE serves it (extra `spire`)."""
