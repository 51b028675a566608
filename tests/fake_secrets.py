"""Made-up secrets by the rule that is there for them, texts that hold none, and a masker with a key of its own."""

import base64
import json
import random
import string

from infra_mcp.masking import Masker

__all__ = ["DOCKER", "HARMLESS", "KEY", "MASKER", "TOKENS", "made"]

KEY = b"k" * 32
MASKER = Masker(KEY)
RANDOM = random.Random(7)  # made-up secrets, the same in every run


def made(length, letters=string.ascii_letters + string.digits):
    return "".join(RANDOM.choice(letters) for _ in range(length))


def jwt():
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
    body = base64.urlsafe_b64encode(b'{"sub":"system:serviceaccount:a:b"}').decode().rstrip("=")
    return f"{header}.{body}.{made(43)}"


def pem(kind="RSA PRIVATE KEY"):
    lines = "\n".join(made(64) for _ in range(6))
    return f"-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----"


DOCKER = json.dumps(
    {
        "auths": {
            "registry.example": {
                "username": "robot",
                "password": "pw-7Hq2",
                "auth": base64.b64encode(b"robot:pw-7Hq2").decode(),
            }
        }
    }
)
# Rule -> secrets that it is there for; each is hidden wherever it stands.
TOKENS = {
    "private key": [
        pem(),
        pem("PRIVATE KEY"),
        pem("EC PRIVATE KEY"),
        pem("OPENSSH PRIVATE KEY"),
        pem("PGP PRIVATE KEY BLOCK"),
    ],
    "age key": ["AGE-SECRET-KEY-1" + made(58, string.ascii_uppercase + string.digits)],
    "infra-mcp token": ["imcp_" + made(43, string.ascii_letters + string.digits + "-_")],
    "GitHub token": [f"gh{kind}_{made(36)}" for kind in "pousr"] + [f"github_pat_{made(22)}_{made(59)}"],
    "GitLab token": [f"glpat-{made(20)}", f"gldt-{made(20)}", f"glrt-{made(20)}"],
    "Slack token": [f"xoxb-1234567890-{made(24)}", f"xapp-1-{made(20)}", f"xoxe.xoxp-1-{made(40)}"],
    "AWS access key": ["AKIA" + made(16, string.ascii_uppercase + string.digits)],
    "Google key": ["AIza" + made(35), "ya29." + made(60), "GOCSPX-" + made(28)],
    "Docker token": ["dckr_pat_" + made(27)],
    "docker config": [base64.b64encode(DOCKER.replace('": {', '":{').encode()).decode()],
    "DigitalOcean token": ["dop_v1_" + made(64, "0123456789abcdef")],
    "Vault token": ["hvs." + made(90)],
    "Terraform token": [f"{made(14)}.atlasv1.{made(60)}"],
    "package index token": ["npm_" + made(36), "pypi-AgEIcHlwaS5vcmc" + made(60)],
    "model provider key": [f"sk-ant-api03-{made(80)}", f"sk-proj-{made(20)}9{made(20)}", "hf_" + made(34)],
    "payment key": ["sk_live_" + made(24)],
    "Grafana token": [f"glsa_{made(32)}_{made(8)}"],
    "JSON web token": [jwt() for _ in range(3)],
}
HARMLESS = [
    "I need a namespace 'docs-staging' with image-pull secret X",
    "please create namespace docs-staging with pull-secret: X and image-pull secrets Y and Z",
    "imagePullSecrets:\n- name: registry-x",
    "infra-mcp.dev/pull-secrets: X",
    'secrets "registry-x" is forbidden: User "system:serviceaccount:infra-mcp:circle-docs" cannot get',
    "docs-staging/secret/registry-x",
    "automountServiceAccountToken: false",
    "secretName: registry-x\nsecretKeyRef:\n  name: db\n  key: uri",
    'strength = "token"\nby = "operator"',
    '[pull_secrets.X]\nfrom = "infra-secrets/registry-x"\nname = "registry-x"',
    "registry.example/docs/site@sha256:" + "0f" * 32,
    "commit 3f786850e387550fdab836ed7e6dc881de23001b",
    "ssh://git@git.example/infra.git and git@git.example:infra.git",
    "http://localhost:8080/path?x=a@b",
    "the password is required",
    "the token is not valid",
    "kubernetes.io/dockerconfigjson",
    "config.keyStore.example.org",
    "sk-learn and task-force-one-two-three-four",
    "12:30 error: namespace: docs",
    "\u202eé\0\n\t",
    "",
]
