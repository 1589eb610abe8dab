"""The report: who can reach what, for people who do not read policy files."""
