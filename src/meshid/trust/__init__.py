"""The parts of a snapshot other than the policy: our credentials, trust bundles, revocations."""
