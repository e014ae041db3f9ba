"""What reports are drawn with: a sheet of HTML that needs nothing beside it, and its pictures.

It knows nothing of what is reported. A library that is missing is a ModuleNotFoundError here, as
only the room that draws knows which extra brings it.
"""
