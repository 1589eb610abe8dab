"""One GET request over TLS to a known server, within a deadline."""
