"""The hand-written scenarios, one module a subject. A function's name is what it is about."""
