"""Replay: what another policy would have decided, from the audit log of one."""
