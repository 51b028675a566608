"""An OpenID Connect issuer on loopback: discovery, keys that can be rotated, and tokens of GitHub's and GitLab's shape.

The claims are those of the examples in GitHub's "OpenID Connect reference" and GitLab's "OpenID Connect (OIDC)
authentication using ID tokens", with names of ours.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

AUDIENCE = "infra-mcp"


@cache
def private_key(kid: str) -> rsa.RSAPrivateKey:
    """A key pair of that name, made once a process; the one called `short` is too short for use."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=1024 if kid == "short" else 2048)


def public_key(kid: str, **more: Any) -> dict[str, Any]:
    """Its public half, as a set of keys has it."""
    found: dict[str, Any] = RSAAlgorithm.to_jwk(private_key(kid).public_key(), as_dict=True)
    return found | {"kid": kid, "use": "sig", "alg": "RS256"} | more


@dataclass
class Issuer:
    """What the issuer says, which a test may change, and what it was asked."""

    url: str
    keys: list[dict[str, Any]] = field(default_factory=lambda: [public_key("one")])
    documents: dict[str, Any] = field(default_factory=dict)  # in the place of what it says by itself, by path
    asked: list[str] = field(default_factory=list)
    secret: str = "what-the-job-may-ask-with"
    job: Callable[..., dict[str, Any]] | None = None  # the claims of the job that may ask

    def issued(self, query: str) -> dict[str, Any]:
        """The answer to a job that asks for its token, as GitHub gives it: each token is a new one."""
        assert self.job is not None
        wanted = dict(parse_qsl(query))
        return {"value": self.token(self.job(aud=wanted["audience"], jti=secrets.token_hex(8)))}

    def says(self, path: str) -> Any:
        """The document at a path."""
        own = {
            "/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
            "/keys": {"keys": self.keys},
        }
        return (own | self.documents).get(path)

    def token(self, claims: dict[str, Any], *, kid: str | None = "one", key: str = "one", **header: Any) -> str:
        """A token that one of its keys signs."""
        headers = header if kid is None else {"kid": kid} | header
        return jwt.encode(claims, private_key(key), algorithm="RS256", headers=headers)

    def github(self, **changed: Any) -> dict[str, Any]:
        """The claims of a job of GitHub Actions; None leaves one out."""
        now = int(time.time())
        claims = {
            "jti": "example-id",
            "sub": "repo:acme/docs:environment:production",
            "environment": "production",
            "aud": AUDIENCE,
            "ref": "refs/heads/main",
            "sha": "d" * 40,
            "repository": "acme/docs",
            "repository_owner": "acme",
            "actor_id": "12",
            "repository_visibility": "private",
            "repository_id": "74",
            "repository_owner_id": "65",
            "run_id": "9876543210",
            "run_number": "10",
            "run_attempt": "2",
            "runner_environment": "github-hosted",
            "actor": "octocat",
            "workflow": "release",
            "head_ref": "",
            "base_ref": "",
            "event_name": "workflow_dispatch",
            "ref_type": "branch",
            "job_workflow_ref": "acme/docs/.github/workflows/release.yml@refs/heads/main",
            "iss": self.url,
            "nbf": now - 600,
            "exp": now + 300,
            "iat": now,
        }
        return {name: value for name, value in (claims | changed).items() if value is not None}

    def gitlab(self, **changed: Any) -> dict[str, Any]:
        """The claims of a job of GitLab CI; None leaves one out."""
        now = int(time.time())
        claims = {
            "namespace_id": "72",
            "namespace_path": "acme",
            "project_id": "20",
            "project_path": "acme/docs",
            "user_id": "1",
            "user_login": "sample-user",
            "user_email": "sample-user@example.com",
            "user_identities": [{"provider": "github", "extern_uid": "2435223452345"}],
            "pipeline_id": "574",
            "pipeline_source": "push",
            "job_id": "302",
            "ref": "main",
            "ref_type": "branch",
            "ref_path": "refs/heads/main",
            "ref_protected": "true",
            "runner_id": 1,
            "runner_environment": "self-hosted",
            "sha": "7" * 40,
            "project_visibility": "public",
            "ci_config_ref_uri": "gitlab.example.com/acme/docs//.gitlab-ci.yml@refs/heads/main",
            "jti": "235b3a54-b797-45c7-ae9a-f72d7bc6ef5b",
            "iat": now,
            "nbf": now - 5,
            "exp": now + 3600,
            "iss": self.url,
            "sub": "project_path:acme/docs:ref_type:branch:ref:main",
            "aud": AUDIENCE,
        }
        return {name: value for name, value in (claims | changed).items() if value is not None}


@contextmanager
def issuer() -> Iterator[Issuer]:
    """An issuer that runs as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(self.path)
            path, _, query = self.path.partition("?")
            may_ask = self.headers.get("Authorization") == f"Bearer {made.secret}"
            found = made.issued(query) if path == "/token" and may_ask else made.says(path)
            status, body = (404, b"") if found is None else (200, json.dumps(found).encode())
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made = Issuer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def policy_of(made: Issuer) -> str:
    """The part of a policy that takes this issuer's tokens, of both shapes."""
    return f"""
[oidc.ci]
issuer = "{made.url}"
audience = "{AUDIENCE}"
sponsor = "actor"
run = "run_id"
private = true
[[oidc.ci.peers]]
peer = "docs"
circle = "docs"
claims = {{ repository = "acme/docs", ref = "refs/heads/*", environment = "production" }}
"""
