"""`meshid policy ...`: each question about a policy is a command."""
