"""moq-lite: messages, versions and frames."""
