"""Zones whose records are in an object of a cluster, and the two programs that would serve them.

There is no kubelet and no external-dns: two threads stand in for them. The one writes a key of a ConfigMap to the file
that a real CoreDNS reads, as a volume does. The other does what external-dns documents: it updates a real BIND by the
endpoints, writes its marks, and sets `status.observedGeneration` as soon as it has read the object.
"""

import threading
from contextlib import asynccontextmanager

import dns.exception
from drivers.dns.zone_kit import ZONE, setup
from e2e.cluster_setup import CLUSTER, suffix
from name_servers import zone_text

from infra_mcp.drivers.base import Context
from infra_mcp.drivers.dns.driver import connect
from infra_mcp.policy.policy import load
from infra_mcp.policy.rbac import render

__all__ = [
    "CONFIG_ZONE",
    "ENDPOINT_ZONE",
    "KEY",
    "RECORDS",
    "InCluster",
    "Program",
    "config_map",
    "endpoints",
    "external_dns",
    "kubelet",
    "serve_endpoints",
]

KEY = "docs.example.zone"
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "dnsendpoints.externaldns.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/external-dns/pull/2007"},
    },
    "spec": {
        "group": "externaldns.k8s.io",
        "names": {
            "kind": "DNSEndpoint",
            "listKind": "DNSEndpointList",
            "plural": "dnsendpoints",
            "singular": "dnsendpoint",
        },
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                            "status": {"type": "object", "properties": {"observedGeneration": {"type": "integer"}}},
                        },
                    }
                },
            }
        ],
    },
}


def serve_endpoints(admin):
    """Let the cluster have DNSEndpoint objects."""
    admin.apply([CRD])
    admin.run("wait", "--for=condition=Established", "crd/dnsendpoints.externaldns.k8s.io", "--timeout=30s")


class InCluster:
    """A namespace with the object of a zone, a policy that names it, and the rights that are rendered for it."""

    def __init__(self, admin, section, body):
        self.admin, self.space = admin, f"docs-{suffix()}"
        self.body = body(self.space)
        text = admin.policy(section.format(space=self.space))
        grants = f'[circles.docs]\nzones = ["{ZONE}"]\nrecords = ["*"]\n'
        text = text.replace("[circles.docs]\n", grants).replace('path = "k8s"', 'path = "dns"\ndelivery = "dns"')
        self.text = text.replace('"change_set"]', '"change_set", "dns_record"]', 1)
        self.policy = load(self.text)
        admin.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.space}}, self.body])
        self.rights = [one for one in render(self.policy, CLUSTER) if one["metadata"].get("namespace") == self.space]
        admin.apply(self.rights)

    @property
    def kind(self):
        return self.body["kind"].lower()

    def live(self):
        """The object, as an admin reads it."""
        return self.admin.api.get(self.kind, "records", self.space, self.body["apiVersion"])

    def observed(self, generation):
        """The status that external-dns sets as soon as it has read the object."""
        self.admin.api.set_status(self.live(), observedGeneration=generation)

    @asynccontextmanager
    async def zone(self, masker=None):
        ready = setup(masker)
        ready = type(ready)(self.admin.server_config, ready.key, ready.masker)
        async with connect(ready, self.policy, ZONE) as driver:
            yield driver, Context("req-0", "docs", self.policy, nonce="n" * 32)

    def leave(self):
        self.admin.api.delete_namespace(self.space)


class Program:
    """Another program of the cluster, which looks again and again until it ends; it can be held meanwhile."""

    def __init__(self, work):
        self._work, self._ended, self._held, self.failed = work, threading.Event(), threading.Event(), []
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            while not self._ended.wait(0.1):
                if not self._held.is_set():
                    self._work()
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.failed.append(error)

    def pause(self):
        self._held.set()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join(30)
        assert self.failed == [], self.failed


ENDPOINT_ZONE = """
[zones."docs.example"]
backend = "dnsendpoint"
file = "dns/records.yaml"
cluster = "sandbox"
object = "{space}/records"
servers = ["%s"]
private = true
timeout = "20s"
"""


def endpoints(space, *more):
    return {
        "apiVersion": "externaldns.k8s.io/v1alpha1",
        "kind": "DNSEndpoint",
        "metadata": {"name": "records", "namespace": space},
        "spec": {
            "endpoints": [
                {"dnsName": f"www.{ZONE}", "recordTTL": 300, "recordType": "A", "targets": ["192.0.2.1"]},
                *more,
            ]
        },
    }


def external_dns(held, bind):
    """What external-dns does with the objects of one namespace, by its documentation."""
    there = {}

    def work():
        live = held.live()
        if live.get("status", {}).get("observedGeneration") != live["metadata"]["generation"]:
            held.observed(live["metadata"]["generation"])
        wanted = {
            (one["dnsName"].removesuffix(f".{ZONE}"), one["recordType"]): (one["targets"], one.get("recordTTL", 300))
            for one in live["spec"]["endpoints"]
        }
        mark = f'"heritage=external-dns,external-dns/owner=default,external-dns/resource=crd/{held.space}/records"'
        try:
            follow(wanted, mark)
        except (OSError, dns.exception.DNSException):
            return  # its server is down, or has just started: the next turn tries all of it again
        there.clear()
        there.update(wanted)

    def follow(wanted, mark):
        for name, kind in there.keys() - wanted.keys():
            bind.by_others(name, kind, [])
            bind.by_others(f"{kind.lower()}-{name}", "TXT", [])
        for (name, kind), (targets, ttl) in wanted.items():
            if there.get((name, kind)) != (targets, ttl):
                bind.by_others(name, kind, targets, ttl)
                bind.by_others(f"{kind.lower()}-{name}", "TXT", [mark])

    return Program(work)


CONFIG_ZONE = f"""
[zones."docs.example"]
backend = "coredns"
file = "dns/coredns.yaml"
cluster = "sandbox"
object = "{{space}}/records"
key = "{KEY}"
servers = ["%s"]
private = true
timeout = "20s"
"""
RECORDS = "www 300 IN A 192.0.2.1\n"


def config_map(space):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "records", "namespace": space},
        "data": {KEY: zone_text(RECORDS), "other.server": "other.example { whoami }\n"},
    }


def kubelet(held, server):
    """What a kubelet does with a volume of the ConfigMap: the file becomes the key's text, as a whole."""

    def work():
        new = server.published.with_suffix(".new")
        new.write_text(held.live()["data"][KEY])
        new.replace(server.published)

    return Program(work)
