"""What is old and of no more use is swept: by settings, in small batches, never what is still needed."""
