"""What a relay counts, as Prometheus reads it."""
