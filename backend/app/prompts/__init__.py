"""Prompts: templates as data, their versions, and the one place where a person's text meets an instruction."""
