"""Small helpers that every layer above may use: quoting, documents, did-you-mean, locks, SIEVE."""
