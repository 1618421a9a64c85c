"""`queue-processor doctor`: is the installation right?

An `Installation` reads what the settings, the credentials and the kubeconfig name: queue, rules,
groups, nodes. Each of these is read once. A check is a function that asks for the parts that it
needs, judges them, and returns a `Finding`; `checks.CHECKS` lists them. All checks run at once.
Where a part cannot be read, one check reports that, and those that need the part as well are
skipped and name it, so that one cause is one failed line. Nothing is sent or changed.

A table of what each check needs was rejected: it would repeat what the functions say, and could be
wrong.
"""
