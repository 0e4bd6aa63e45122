"""Tokens: the keys that verify them, where those are kept, and what a token says."""
