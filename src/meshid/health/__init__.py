"""Health: whether a mesh can serve, what it has loaded, and the state file that says so."""
