"""The HTTP server: routes compatible with other servers, dynamic batching, one model thread.

A request passes `admission` → `routes` → `engine` → `batching` → the model. Only `settings` can be
imported without the extra `serve`; start with `app.create_app` and `server.run_server`.
"""
