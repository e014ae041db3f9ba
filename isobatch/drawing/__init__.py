"""Drawing of reports: self-contained HTML pages, and SVG charts in them.

A missing library is a ModuleNotFoundError here: only the caller knows which extra installs it.
"""
