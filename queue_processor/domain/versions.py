"""Resource versions of Kubernetes objects: numbers in disguise, which grow with each change.

https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/5504-comparable-resource-version
"""


def is_later(version: str, other: str) -> bool:
    """Return True if one version is certainly later than another; False for other texts."""
    if not (version + other).isdecimal():
        return False
    # As numbers: neither begins with a zero.
    return (len(version), version) > (len(other), other)
