"""The speed and bits of each task compared with the library that users run it by."""
