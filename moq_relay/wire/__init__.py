"""Bytes to messages and back; no clock, no task, no socket."""
