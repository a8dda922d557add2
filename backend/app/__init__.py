"""LiteVault's server: a folder is a feature, a file at this level is plumbing; imports go downwards only."""
