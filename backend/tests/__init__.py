"""The tests of LiteVault, and the fakes at its two seams: the model (`protocol_server`) and the clock."""
