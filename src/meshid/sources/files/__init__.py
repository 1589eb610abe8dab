"""Sources that are files, as platforms mount them."""
