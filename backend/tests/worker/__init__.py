"""The worker's protocol against a real database: claims, leases, fences, retries, stopping."""
