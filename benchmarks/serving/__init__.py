"""The HTTP server under load, beside two others on the same checkpoint; `make bench-serve`."""
