"""Settings, assembly and faces of one relay process."""
