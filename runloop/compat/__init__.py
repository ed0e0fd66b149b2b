"""Faces that runloop shows to programs written for something else; see :mod:`runloop.compat.tf`."""
