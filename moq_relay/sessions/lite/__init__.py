"""moq-lite sessions."""
