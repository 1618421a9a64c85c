"""A simulated Kubernetes API server and AWS, for the demo and the tests."""
