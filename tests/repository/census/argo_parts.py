"""Applications and ApplicationSets of Argo CD, as YAML, for the tests of the census."""

import json

URL = "https://git.example.org/team/fleet.git"
CHARTS = "https://charts.example.org"


def application(name, *sources, namespace="web", cluster=None, **metadata):
    """An Application; JSON is YAML, too."""
    some = {"sources": list(sources)} if len(sources) > 1 else {"source": sources[0]}
    goes = {"name": cluster} if cluster else {"server": "https://kubernetes.default.svc"}
    return _written("Application", name, {**some, "destination": {**goes, "namespace": namespace}}, metadata)


def source(path=None, **more):
    """A source in this repository."""
    return {"repoURL": URL, "targetRevision": "HEAD", **({"path": path} if path is not None else {}), **more}


def chart(name, version, **helm):
    """A source that is a chart of a repository of charts."""
    return {"repoURL": CHARTS, "chart": name, "targetRevision": version, **({"helm": helm} if helm else {})}


def application_set(name, generators, template_name, template_source, *, go=True, cluster="{{ .cluster }}", **more):
    """An ApplicationSet."""
    template = {
        "metadata": {"name": template_name},
        "spec": {"source": template_source, "destination": {"name": cluster, "namespace": name}},
    }
    return _written("ApplicationSet", name, {"goTemplate": go, "generators": generators, "template": template, **more})


def _written(kind, name, spec, metadata=None):
    about = {"name": name, "namespace": "argocd", **(metadata or {})}
    return json.dumps({"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "metadata": about, "spec": spec}, indent=2)


def deployment(name="web", image="registry.example/web:1.0.0"):
    """A Deployment."""
    return (
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\nspec:\n  replicas: 1\n  template:\n"
        f"    spec:\n      containers:\n      - name: {name}\n        image: {image}\n"
    )
