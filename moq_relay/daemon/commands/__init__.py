"""The commands that run no relay of their own."""
