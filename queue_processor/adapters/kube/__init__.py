"""The Kubernetes API through the official client, as raw JSON."""
