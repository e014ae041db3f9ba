"""`make bench-serve`: the HTTP server under load, compared with two others."""
