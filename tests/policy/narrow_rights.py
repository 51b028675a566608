"""All that the peer's identities may do, written by hand: what the API server answers is compared with it."""

from __future__ import annotations

READ, SET = {"get", "list", "watch"}, {"get", "create", "patch"}
WRITE = READ | SET
ALL = WRITE | {"update", "delete"}
CIRCLE = {
    "namespaces": {"get"}, "serviceaccounts": WRITE, "resourcequotas": WRITE, "limitranges": WRITE,
    "configmaps": SET, "services": SET, "persistentvolumeclaims": SET, "pods": READ, "events": READ,
    "secrets": {"create"}, "secrets/registry-x-copy": {"get", "patch"}, "secrets/registry-y": {"get", "patch"},
    "networking.k8s.io networkpolicies": WRITE, "networking.k8s.io ingresses": SET,
    "apps deployments": WRITE, "apps statefulsets": WRITE, "apps daemonsets": WRITE, "apps replicasets": READ,
    "apps controllerrevisions": READ, "autoscaling horizontalpodautoscalers": {"list", *SET},
    "batch cronjobs": SET, "batch jobs": SET, "policy poddisruptionbudgets": SET,
    "gateway.networking.k8s.io httproutes": SET, "gateway.networking.k8s.io grpcroutes": SET,
    "gateway.networking.k8s.io tlsroutes": SET, "route.openshift.io routes": SET,
    "route.openshift.io routes/custom-host": SET, "traefik.io ingressroutes": SET,
}  # fmt: skip
HELMS = {
    "configmaps": ALL, "persistentvolumeclaims": ALL, "pods": ALL, "services": ALL, "serviceaccounts": ALL,
    "secrets": ALL, "events": READ, "pods/log": READ, "apps daemonsets": ALL, "apps deployments": ALL,
    "apps replicasets": ALL, "apps statefulsets": ALL, "apps controllerrevisions": READ,
    "autoscaling horizontalpodautoscalers": ALL, "batch cronjobs": ALL, "batch jobs": ALL,
    "gateway.networking.k8s.io grpcroutes": ALL, "gateway.networking.k8s.io httproutes": ALL,
    "gateway.networking.k8s.io tlsroutes": ALL, "networking.k8s.io ingresses": ALL,
    "networking.k8s.io networkpolicies": ALL, "policy poddisruptionbudgets": ALL, "route.openshift.io routes": ALL,
    "traefik.io ingressroutes": ALL,
}  # fmt: skip
DISCOVERY = ("/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", "/version")


def flat(rules):
    """Every single right: verb, and group, resource and name as one word."""
    found = set()
    for rule in rules:
        things = [f"{group} {kind}".strip() for group in rule.get("apiGroups") or () for kind in rule["resources"]]
        things = [f"{thing}/{name}" for thing in things for name in rule.get("resourceNames") or [""]]
        things += rule.get("nonResourceURLs") or []
        found |= {(verb, thing.rstrip("/")) for verb in rule["verbs"] for thing in things}
    return found


def listed(table):
    return {(verb, thing) for thing, verbs in table.items() for verb in verbs}


def acting(table):
    return {(f"impersonate-on:serviceaccount:{verb}", thing) for verb, thing in listed(table)}
