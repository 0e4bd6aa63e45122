"""Engines behind the seam of ``sessions.transport``."""
