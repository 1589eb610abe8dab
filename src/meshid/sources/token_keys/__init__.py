"""The sources that are the keys of the issuers of tokens: discovered, fetched or in a file."""
