"""Items and tags: what a person captures, the states it passes through, and the routes to it."""
