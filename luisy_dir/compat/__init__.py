"""Faces of other systems: their module and function names, on our core."""
