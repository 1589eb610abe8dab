"""What is recorded: an event for each decision, and counters; and the replay of a log."""
