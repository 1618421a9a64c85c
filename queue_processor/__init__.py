"""Kubernetes operator that drains EC2 nodes before AWS takes them away."""
