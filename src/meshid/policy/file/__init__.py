"""The policy file: its form, its strings, its schema, and how it is loaded."""
