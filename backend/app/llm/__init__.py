"""The way to language models: the client, the provider gate, and the books of every upstream attempt."""
