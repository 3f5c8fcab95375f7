"""People: organizations, roles, logins, tokens and invitations."""
