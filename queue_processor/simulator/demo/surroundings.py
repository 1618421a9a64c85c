"""Keeps a rehearsal on this machine, whatever the shell that it is started from points to."""

import os

# How the variables begin by which a program finds an AWS, or the cluster that it runs in.
_OTHER_PLACES = ("AWS_", "KUBERNETES_SERVICE_")
# Files of the SDKs name endpoints and roles, and no proxy leads to this machine.
_THIS_MACHINE = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}


def stay_on_this_machine() -> None:
    """Forget every AWS and every cluster in this process and the ones that it starts.

    moto opens sessions while it is imported, so this comes before that.
    """
    for name in [name for name in os.environ if name.startswith(_OTHER_PLACES)]:
        del os.environ[name]
    os.environ.update(_THIS_MACHINE)
