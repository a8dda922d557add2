"""OpenAI's wire: by hand, and by the official client."""
