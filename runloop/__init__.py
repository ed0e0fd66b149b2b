"""A training loop with TensorFlow 1.x's hook lifecycle, for NumPy and plain Python."""
