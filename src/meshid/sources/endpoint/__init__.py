"""The source that is a SPIFFE bundle endpoint of another trust domain."""
