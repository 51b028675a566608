"""The driver of each delivery. A new kind of infrastructure is a driver and a line here."""

from __future__ import annotations

from infra_mcp.drivers.base import Delivery
from infra_mcp.drivers.dns import driver as dns
from infra_mcp.drivers.external import driver as external
from infra_mcp.drivers.helm import driver as helm
from infra_mcp.drivers.kubernetes.connection import place as cluster
from infra_mcp.drivers.manifests import driver as manifests
from infra_mcp.drivers.terraform import driver as terraform

DELIVERIES: dict[str, Delivery] = {
    one.name: one
    for one in (
        Delivery("kubernetes", "kubernetes", cluster, manifests.connect),
        Delivery("dns", "dns", dns.place, dns.connect),
        Delivery("terraform", "terraform", terraform.place, terraform.connect),
        Delivery("helm", "helm", cluster, helm.connect),
        Delivery("external", "external", external.place, external.connect),
    )
}
