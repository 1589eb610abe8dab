"""Peer and policy to decision, under one snapshot; and the connections that are open."""
