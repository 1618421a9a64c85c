"""A simulated Kubernetes API server with the controllers that a drain meets."""
