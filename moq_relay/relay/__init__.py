"""The model: who has what and who wants it; no protocol, no socket."""
