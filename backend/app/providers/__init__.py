"""Who answers our calls: the providers, their credentials, the addresses that may be reached, and their health."""
