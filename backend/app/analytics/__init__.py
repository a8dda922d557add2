"""What became of calls and proposals: reads what others wrote, and nobody imports it but `main`."""
