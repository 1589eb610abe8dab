"""The parts of a snapshot that say whom we trust: credentials, bundles, revocations."""
