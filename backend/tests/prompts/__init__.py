"""Prompts: templates, what is refused, versions, routes, and texts that try to instruct the model."""
