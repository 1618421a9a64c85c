"""The simulator of instance metadata as commands: `serve` runs it, `send` announces something.

`serve` is a process that stays, polled by every node of a cluster. It imports no more than it
needs: the Kubernetes client only if there is a cluster to read, and no settings.
"""
