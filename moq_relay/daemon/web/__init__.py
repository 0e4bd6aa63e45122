"""Serving HTTP: which connections and requests are taken."""
