"""The one way to language models: what a call is, which model it goes to, and what follows from what it meets."""
