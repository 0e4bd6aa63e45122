"""Which nodes clients are to be sent to, for the DNS."""
