"""The server: many clients at once, one model, and every answer as if it had been asked alone.

A request goes `limits` → `dialects` → `engine` → `batching` → the model, and its answer back by the
same way. It knows no files and reads no environment. Only `settings` can be imported without the
extra `serve`; the rest begins at `app.create_app` and `run.run_server`.
"""
