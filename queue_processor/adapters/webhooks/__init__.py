"""Notifications about drains to receivers outside of the cluster, over HTTP."""
