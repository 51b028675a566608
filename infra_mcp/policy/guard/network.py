"""How an object opens the namespace to the outside: types of Services, and the hosts whose traffic it takes.

A host of `*` stands for any: a rule without a host, or one that cannot be read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from infra_mcp.model.effect import FieldPath
from infra_mcp.policy.guard.pods import Finding
from infra_mcp.policy.guard.rules import HOSTS
from infra_mcp.policy.guard.traefik import hosts_of_match

ANY: Final = "*"
_TYPES: Final = {
    "NodePort": "services.node-port",
    "LoadBalancer": "services.load-balancer",
    "ExternalName": "services.external-name",
}
# The last parts of annotations that name more hosts: for external-dns, ingress-nginx, HAProxy, Gardener, cert-manager.
_ANNOTATIONS: Final = frozenset(
    {
        *("hostname", "internal-hostname", "dnsnames"),
        *("server-alias", "server-alias-regex"),
        *("common-name", "alt-names"),
    }
)
# The last parts of annotations that are the controller's own configuration: ingress-nginx and others, HAProxy Ingress.
_SNIPPET: Final = re.compile(
    r"[-a-z]*snippets?|config-(?:backend|defaults|frontend|global|proxy|sections|tcp|tcp-service)"
)
_CONFIGURATION: Final = frozenset({"getambassador.io/config"})  # whole annotations that are one
_CONDITIONS: Final = "conditions."  # of the AWS load balancer's controller: hosts beside those of the rules
_WWW: Final = "from-to-www-redirect"  # of ingress-nginx: takes the host with `www.`, too, or without

_Hosts = Iterator[tuple[FieldPath, object]]


def exposed(path: FieldPath, node: Mapping[str, Any]) -> Iterator[Finding]:
    """What one mapping of an object opens: as a Service, in a custom resource that makes one, or by an annotation."""
    for key, value in node.items():
        if key in {"type", "serviceType"} and isinstance(value, str) and value in _TYPES:
            yield Finding(_TYPES[value], (*path, key), value)
        elif key == "externalIPs" and value not in (None, []):
            yield Finding("services.external-ips", (*path, key), value)
        elif key == "annotations" and isinstance(value, dict):
            yield from _annotated((*path, key), value)


def hosts(kind: str, rendered: Mapping[str, Any]) -> Iterator[Finding]:
    """Every host whose traffic an object takes.

    Args:
        kind: group and kind, as in `Target.kind`.
        rendered: the object.
    """
    find = _KINDS.get(kind)
    spec, metadata = rendered.get("spec"), rendered.get("metadata")
    if kind in _NAMED and isinstance(metadata, dict):
        yield Finding(HOSTS, ("metadata", "name"), _plain(metadata.get("name")))
    if find is None or spec is None:
        return
    if not isinstance(spec, dict):
        yield Finding(HOSTS, ("spec",), ANY)
        return
    about = metadata.get("annotations") if isinstance(metadata, dict) else None
    redirects = any(str(key).rpartition("/")[2] == _WWW for key in about) if isinstance(about, dict) else False
    for path, host in find(spec):
        plain = _plain(host)
        yield Finding(HOSTS, ("spec", *path), plain)
        if redirects and isinstance(plain, str) and plain != ANY:
            yield Finding(HOSTS, ("spec", *path), plain.removeprefix("www.") if plain[:4] == "www." else f"www.{plain}")


def _annotated(path: FieldPath, annotations: Mapping[str, Any]) -> Iterator[Finding]:
    for key, value in annotations.items():
        name = str(key).rpartition("/")[2]
        if name in _ANNOTATIONS:
            several = value.split(",") if isinstance(value, str) else [value]
            yield from (Finding(HOSTS, (*path, key), _plain(one)) for one in several)
        elif name.startswith(_CONDITIONS):
            yield from (Finding(HOSTS, (*path, key), _plain(one)) for one in _of_conditions(value))
        elif _SNIPPET.fullmatch(name) or key in _CONFIGURATION:
            yield Finding("ingresses.snippets", (*path, key), "")


def _of_conditions(value: object) -> Iterator[object]:
    """The hosts of a condition of the AWS load balancer's controller; any host where it cannot be read."""
    try:
        conditions = json.loads(value) if isinstance(value, str) else None
    except ValueError:
        conditions = None
    for one in conditions if isinstance(conditions, list) else [None]:
        field = one.get("field") if isinstance(one, dict) else None
        if field == "host-header" or not isinstance(field, str):
            config = one.get("hostHeaderConfig") if isinstance(one, dict) else None
            given = config.get("values") if isinstance(config, dict) else None
            yield from given if isinstance(given, list) and given else [ANY]


def _plain(host: object) -> object:
    """A host as DNS compares it."""
    return host.strip().lower().removesuffix(".") or ANY if isinstance(host, str) else ANY if host is None else host


def _items(of: Mapping[str, Any], key: str) -> Iterator[tuple[FieldPath, Any]]:
    """The items of a list, each with its path; an item that is no map, or what is no list, as one without any field."""
    found = of.get(key)
    for at, item in enumerate(found if isinstance(found, list) else [] if found is None else [found]):
        yield (key, at), item if isinstance(item, dict) else {}


def _texts(of: Mapping[str, Any], key: str, *, needed: bool = False) -> _Hosts:
    """The texts of a list; where they are needed and there are none, any host."""
    found = of.get(key)
    several = found if isinstance(found, list) else [] if found is None else [found]
    if needed and not several:
        yield (key,), ANY
    yield from (((key, at), one) for at, one in enumerate(several))


def _ingress(spec: Mapping[str, Any]) -> _Hosts:
    for path, rule in _items(spec, "rules"):
        yield (*path, "host"), rule.get("host")
    for path, tls in _items(spec, "tls"):
        yield from (((*path, *below), host) for below, host in _texts(tls, "hosts"))
    for key in ("defaultBackend", "backend"):
        if spec.get(key) is not None:
            yield (key,), ANY


def _route(spec: Mapping[str, Any]) -> _Hosts:
    yield from _texts(spec, "hostnames", needed=True)


def _listeners(spec: Mapping[str, Any]) -> _Hosts:
    for path, listener in _items(spec, "listeners"):
        yield (*path, "hostname"), listener.get("hostname")


def _any(_: Mapping[str, Any]) -> _Hosts:
    yield (), ANY


def _openshift(spec: Mapping[str, Any]) -> _Hosts:
    host = spec.get("host")
    if spec.get("wildcardPolicy") not in (None, "None") and isinstance(host, str):
        host = f"*.{host.partition('.')[2]}"
    yield ("host",), host


def _traefik(spec: Mapping[str, Any]) -> _Hosts:
    for path, route in _items(spec, "routes"):
        yield from (((*path, "match"), host) for host in hosts_of_match(route.get("match")) or [ANY])
    tls = spec.get("tls")
    for path, domain in _items(tls, "domains") if isinstance(tls, dict) else ():
        yield ("tls", *path, "main"), domain.get("main")
        yield from ((("tls", *path, *below), host) for below, host in _texts(domain, "sans"))


def _contour(spec: Mapping[str, Any]) -> _Hosts:
    virtual = spec.get("virtualhost")
    if virtual is not None:  # else it is included by one that has it
        yield ("virtualhost", "fqdn"), virtual.get("fqdn") if isinstance(virtual, dict) else ANY


def _endpoints(spec: Mapping[str, Any]) -> _Hosts:
    for path, endpoint in _items(spec, "endpoints"):
        yield (*path, "dnsName"), endpoint.get("dnsName")


def _certificate(spec: Mapping[str, Any]) -> _Hosts:
    yield from _texts(spec, "dnsNames")
    if spec.get("commonName") is not None:
        yield ("commonName",), spec["commonName"]


def _one(key: str) -> Callable[[Mapping[str, Any]], _Hosts]:
    """The host of a field; any where there is none."""
    return lambda spec: iter([((key,), spec.get(key))])


def _apisix(spec: Mapping[str, Any]) -> _Hosts:
    for path, rule in _items(spec, "http"):
        match = rule.get("match")
        for below, host in _texts(match if isinstance(match, dict) else {}, "hosts", needed=True):
            yield (*path, "match", *below), host


def _istio(spec: Mapping[str, Any]) -> _Hosts:
    yield from _texts(spec, "hosts", needed=True)


def _istio_gateway(spec: Mapping[str, Any]) -> _Hosts:
    for path, server in _items(spec, "servers"):
        for below, host in _texts(server, "hosts", needed=True):
            yield (*path, *below), host.rpartition("/")[2] if isinstance(host, str) else host


_GATEWAY_API: Final = "gateway.networking.k8s.io"
_ROUTES: Final = {"HTTPRoute": _route, "GRPCRoute": _route, "TLSRoute": _route, "TCPRoute": _any, "UDPRoute": _any}
_TRAEFIK: Final = {"IngressRoute": _traefik, "IngressRouteTCP": _traefik, "IngressRouteUDP": _any}
_KINDS: Final[Mapping[str, Callable[[Mapping[str, Any]], _Hosts]]] = {
    "networking.k8s.io/Ingress": _ingress,
    "extensions/Ingress": _ingress,
    **{f"{_GATEWAY_API}/{kind}": find for kind, find in _ROUTES.items()},
    **{f"{_GATEWAY_API}/{kind}": _listeners for kind in ("Gateway", "ListenerSet")},
    "gateway.networking.x-k8s.io/XListenerSet": _listeners,
    "route.openshift.io/Route": _openshift,
    **{f"traefik.io/{kind}": find for kind, find in _TRAEFIK.items()},
    **{f"traefik.containo.us/{kind}": find for kind, find in _TRAEFIK.items()},
    "projectcontour.io/HTTPProxy": _contour,
    "networking.istio.io/VirtualService": _istio,
    "networking.istio.io/Gateway": _istio_gateway,
    "networking.istio.io/ServiceEntry": _istio,
    "externaldns.k8s.io/DNSEndpoint": _endpoints,
    "cert-manager.io/Certificate": _certificate,
    "k8s.nginx.org/VirtualServer": _one("host"),
    "k8s.nginx.org/TransportServer": _any,
    "getambassador.io/Mapping": _one("hostname"),
    "getambassador.io/Host": _one("hostname"),
    "apisix.apache.org/ApisixRoute": _apisix,
}
_NAMED: Final = frozenset({"serving.knative.dev/DomainMapping"})  # whose own name is the host
