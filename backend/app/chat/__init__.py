"""OpenAI's own wire over the gateway, so that programs made for it work with nothing but an address and headers."""
