"""Chain to `Peer`: the verifier, its cache, and the diagnosis of a failure."""
