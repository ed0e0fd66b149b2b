"""What stands behind the names of :mod:`runloop.compat.tf`; ``table.py`` says which is which."""
