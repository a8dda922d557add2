"""The command line: serve, worker, migrate and check. What a command needs is imported when it runs."""
