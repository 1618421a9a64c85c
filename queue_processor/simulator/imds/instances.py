"""The values of one instance, from its Node object or invented from the name of the node."""

import dataclasses
import datetime as dt
import hashlib
import ipaddress
import json
from collections.abc import Mapping

from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.json_fields import iso_time

_ACCOUNT = "123456789012"
_REGION = "us-east-1"
_LAUNCHED_AT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
# A network of every VPC by default, with an address for each of 65,536 names.
_NETWORK = ipaddress.IPv4Network("172.31.0.0/16")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedInstance:
    """An instance, as far as its metadata differs from that of others.

    Attributes:
        node: The Node that runs on it.
        zone_id: None leaves the value out, as `public_ip` and `public_hostname` do.
        is_protected: Nothing is announced to it.
    """

    node: NodeName
    instance_id: InstanceId
    private_ip: str
    hostname: str
    instance_type: str = "m5.large"
    region: str = _REGION
    zone: str = f"{_REGION}a"
    zone_id: str | None = None
    public_ip: str | None = None
    public_hostname: str | None = None
    architecture: str = "x86_64"
    is_spot: bool = True
    launched_at: dt.datetime = _LAUNCHED_AT
    is_protected: bool = False

    def values(self) -> dict[str, str]:
        """Return the values below `meta-data/` that no notice changes.

        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html
        """
        mac = _mac(self.instance_id)
        interface = f"network/interfaces/macs/{mac}"
        values = {
            "ami-id": _id("ami", self.region),
            "ami-launch-index": "0",
            "ami-manifest-path": "(unknown)",
            "block-device-mapping/ami": "/dev/xvda",
            "block-device-mapping/root": "/dev/xvda",
            "hostname": self.hostname,
            "instance-action": "none",
            "instance-id": self.instance_id,
            "instance-life-cycle": "spot" if self.is_spot else "on-demand",
            "instance-type": self.instance_type,
            "local-hostname": self.hostname,
            "local-ipv4": self.private_ip,
            "mac": mac,
            f"{interface}/device-number": "0",
            f"{interface}/interface-id": _id("eni", self.instance_id),
            f"{interface}/local-hostname": self.hostname,
            f"{interface}/local-ipv4s": self.private_ip,
            f"{interface}/mac": mac,
            f"{interface}/owner-id": _ACCOUNT,
            f"{interface}/security-groups": "nodes",
            f"{interface}/subnet-id": _id("subnet", self.zone),
            f"{interface}/vpc-id": _id("vpc", self.region),
            "placement/availability-zone": self.zone,
            "placement/region": self.region,
            "profile": "default-hvm",
            "reservation-id": _id("r", self.instance_id),
            "security-groups": "nodes",
            "services/domain": "amazonaws.com",
            "services/partition": "aws",
            "system": "nitro",
        }
        optional = {
            "placement/availability-zone-id": self.zone_id,
            "public-hostname": self.public_hostname,
            "public-ipv4": self.public_ip,
        }
        return values | {name: value for name, value in optional.items() if value is not None}

    def identity_document(self) -> str:
        """Return the body of `dynamic/instance-identity/document`. Nothing signs it.

        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/retrieve-iid.html
        """
        document: Mapping[str, object] = {
            "accountId": _ACCOUNT,
            "architecture": self.architecture,
            "availabilityZone": self.zone,
            "billingProducts": None,
            "devpayProductCodes": None,
            "marketplaceProductCodes": None,
            "imageId": _id("ami", self.region),
            "instanceId": self.instance_id,
            "instanceType": self.instance_type,
            "kernelId": None,
            "pendingTime": iso_time(self.launched_at),
            "privateIp": self.private_ip,
            "ramdiskId": None,
            "region": self.region,
            "version": "2017-09-30",
        }
        return json.dumps(document, indent=2, separators=(",", " : "))


def invented(node: NodeName) -> SimulatedInstance:
    """Return an instance for the name of a node: always the same one."""
    address = _NETWORK[int(_digits("address", node)[:4], 16)]
    return SimulatedInstance(
        node=node,
        instance_id=InstanceId(_id("i", node)),
        private_ip=str(address),
        hostname=f"ip-{str(address).replace('.', '-')}.ec2.internal",
        zone_id="use1-az1",
    )


def _id(kind: str, seed: str) -> str:
    """Return the id of a resource, as EC2 has had them since 2016."""
    return f"{kind}-{_digits(kind, seed)[:17]}"


def _mac(seed: str) -> str:
    digits = _digits("mac", seed)
    # The second lowest bit of the first octet: administered locally.
    return ":".join(["0e", *(digits[start : start + 2] for start in range(0, 10, 2))])


def _digits(purpose: str, seed: str) -> str:
    return hashlib.blake2s(f"{purpose}/{seed}".encode()).hexdigest()
