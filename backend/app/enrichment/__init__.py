"""From a text to title, summary, tags and source type: the provider interface, its providers and the lane."""
