"""Keys of providers, encrypted at rest."""
