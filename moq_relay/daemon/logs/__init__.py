"""What is written down: the log, and a line for each session."""
