"""The implementation of :mod:`runloop.compat.tf`.

Here live the parts that only TensorFlow's names need: messages, event files, ``gfile``, the stock
hooks with TensorFlow's private attributes. ``table.py`` says which name is which object. The hooks'
and sessions' own behaviour does not live here.
"""
