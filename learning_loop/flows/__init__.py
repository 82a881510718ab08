"""One use case a file, over an open workspace."""
