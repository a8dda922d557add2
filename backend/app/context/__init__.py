"""What of a text a model is shown: tokens counted, windows reckoned, texts fitted, compressed and put together."""
