"""Queries: asked, waited for, streamed, cancelled, refused, and alive after a crash."""
