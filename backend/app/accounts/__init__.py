"""Who is calling: users and their identity on a request."""
