"""What is recorded: the event of each decision, and the counters."""
