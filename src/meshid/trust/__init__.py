"""The parts of a snapshot beside the policy: our credentials, trust bundles, revocations."""
