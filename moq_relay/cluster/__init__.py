"""Several nodes as one: who is a member, who has what, and how it gets here."""
