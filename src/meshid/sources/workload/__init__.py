"""The source that is the SPIFFE Workload API, as SPIRE serves it (extra `spire`)."""
