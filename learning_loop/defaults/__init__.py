"""What `learning-loop init` writes: data, no code."""
