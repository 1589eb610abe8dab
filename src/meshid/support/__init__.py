"""Small things that know nothing of meshid: quoting, documents, did-you-mean, locks, SIEVE."""
