from datetime import UTC, datetime, timedelta

import pytest

from infra_mcp.policy.grammar import seconds
from infra_mcp.policy.policy import digest_of, load
from infra_mcp.policy.schedule import Schedule
from infra_mcp.policy.sections import LimitRules

APP = """
[clusters.sandbox]
context = "c"
[apps.a]
owner = "docs"
workload = "docs-live/deployment/docs"
image = "registry.example/docs/site:{version}"
"""
FREEZE = """
[[freeze]]
id = 'a'
from = '2026-12-20T18:00:00+01:00'
until = '2027-01-04T06:00:00+01:00'
"""


def test_the_whole_policy_is_read(policy, policy_text):
    assert policy.digest == digest_of(policy_text)
    assert policy.circles["docs"].limits == LimitRules(replicas=10, cpu="20", memory="40Gi")
    assert policy.service_account("docs") == "system:serviceaccount:infra-mcp:circle-docs"
    assert policy.clusters["sandbox"].circle_role == "infra-mcp-circle"
    assert policy.pull_secrets["X"].target == "registry-x-copy"
    assert policy.pull_secrets["Y"].target == "registry-y"
    app = policy.apps["till"]
    assert app.workload_parts == ("till", "StatefulSet", "till")
    assert app.repository == "registry.example/shop/till"
    assert app.image_for("2") == "registry.example/shop/till:v2"
    assert (seconds(app.grace), seconds(app.timeout), app.on_failure) == (30.0, 600.0, "rollback")


def test_the_keys_of_releases_and_messages_are_read():
    policy = load(APP + "schedule = 'every 6h'\norder = 'date'\n" + FREEZE + "[messages]\nkeep = '12h'")

    assert policy.apps["a"].when.period == timedelta(hours=6)
    assert policy.apps["a"].order == "date"
    assert policy.freeze[0].until == datetime(2027, 1, 4, 5, tzinfo=UTC)
    assert seconds(policy.messages.keep) == 12 * 3600


@pytest.mark.parametrize(
    "written", ["2026-12-20T18:00:00+01:00", "2026-12-20T17:00:00Z", "2026-12-20t17:00:00.000z", "2026-12-20 17:00:00Z"]
)
@pytest.mark.parametrize("quote", ["", "'"])
def test_a_moment_may_be_written_as_toml_or_as_text(written, quote):
    policy = load(FREEZE.replace("'2026-12-20T18:00:00+01:00'", quote + written + quote))

    assert policy.freeze[0].begins == datetime(2026, 12, 20, 17, tzinfo=UTC)


def test_what_a_policy_of_before_does_not_say_changes_nothing(policy):
    app = policy.apps["docs"]

    assert app.when == Schedule.parse("now")
    assert app.order == "semver"
    assert policy.freeze == ()
    assert policy.attend.actions == policy.attend.namespaces == ()
    assert seconds(policy.messages.keep) == 30 * 86400
    assert seconds(policy.rules[0].require.expires) == 3600


def test_two_apps_of_one_owner_may_have_the_same_message():
    both = APP + "deploy_on = 'release {version}'" + APP.partition("[apps.a]")[2].join(["\n[apps.b]", ""])

    assert set(load(both + "deploy_on = 'release {version}'").apps) == {"a", "b"}


def test_an_empty_file_is_a_policy_that_grants_nothing():
    empty = load("")

    assert not empty.circles
    assert empty.cluster_name() is None
    assert not empty.reaches("docs", "docs-x")
    assert empty.tree.roots[0].path == "."


@pytest.mark.promise("policy.default-deny")
def test_an_absent_key_grants_nothing():
    circle = load("[circles.docs]").circles["docs"]

    assert circle.namespaces == circle.actions == circle.pull_secrets == circle.images == ()
    assert circle.limits == LimitRules(replicas=None, cpu=None, memory=None)
    assert circle.read_logs is False


def test_the_digest_is_that_of_the_bytes():
    assert load("[peer]\n").digest != load("[peer]\n# and a comment\n").digest
    assert load("").digest == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[circle.docs]", "circle is no key"),
        ("[circles.docs]\nnamespace = ['a']", "circles.docs.namespace is no key"),
        ("[circles.Docs]", "circles.Docs"),
        ("[circles.docs]\nactions = ['deploi']", "circles.docs.actions is no action"),
        ("[circles.docs]\nactions = 'deploy'", "circles.docs.actions"),
        ("[circles.docs]\nnamespaces = ['docs-?']", "circles.docs.namespaces.0"),
        ("[circles.docs]\nnamespaces = ['kube-system']", "protected"),
        ("[circles.docs]\nnamespaces = ['kube-*']", "protected"),
        ("[circles.docs]\nnamespaces = ['default']", "protected"),
        ("[clusters.a]\ncontext='c'\n[circles.docs]\nnamespaces = ['infra-mcp']", "service accounts"),
        ("[circles.docs]\npull_secrets = ['X']", "there is no pull_secrets.X"),
        ("[circles.docs]\nimages = ['registry.example*']", "circles.docs.images.0 must name the registry in full"),
        ("[circles.docs]\nimages = ['*.example/x']", "circles.docs.images.0 must name the registry in full"),
        ("[circles.docs]\nlimits = { replicas = -1 }", "circles.docs.limits.replicas"),
        ("[circles.docs]\nlimits = { replicas = '3' }", "circles.docs.limits.replicas"),
        ("[circles.docs]\nlimits = { cpu = '1e30' }", "circles.docs.limits.cpu"),
        ("[circles.docs]\nlimits = { memory = '-1Gi' }", "circles.docs.limits.memory"),
        ("[pull_secrets.X]", "pull_secrets.X.from is missing"),
        ("[pull_secrets.X]\nfrom = '../x'", "pull_secrets.X.from"),
        ("[pull_secrets.X]\nfrom = 'a/b'\nname = 'X'", "pull_secrets.X.name"),
        ("[pull_secrets.'-x']\nfrom = 'a/b'", "pull_secrets.-x"),
        ("[clusters.a]", "clusters.a.context is missing"),
        ("[clusters.a]\ncontext = ''", "clusters.a.context"),
        (APP.replace("deployment", "pod"), "apps.a.workload must name a kind"),
        (APP.replace("docs-live/", ""), "apps.a.workload"),
        (APP.replace(":{version}", ""), "apps.a.image must contain {version} exactly once"),
        (APP.replace("{version}", "{version}{version}"), "apps.a.image must contain {version} exactly once"),
        (APP.replace(":{version}", "{version}:1"), "apps.a.image must be an image reference"),
        (APP.replace("site:{version}", "{version}"), "apps.a.image must be an image reference"),
        (APP.replace("{version}", "1@sha256:{version}"), "apps.a.image must be an image reference"),
        (APP.replace("site:", "Site:"), "apps.a.image must be an image reference"),
        (APP + "schedule = '22:00'", 'apps.a.schedule must be "now"'),
        (APP + "schedule = 'Mon 09:00-17:00 CET'", "apps.a.schedule must name a zone"),
        (APP + "schedule = 'every 2d'", 'apps.a.schedule must be written as "every 30m"'),
        (APP + "order = 'calver'", "apps.a.order"),
        (APP + "deploy_on = 'merged'", "apps.a.deploy_on must contain {version}"),
        (APP + "on_failure = 'shrug'", "apps.a.on_failure"),
        (APP + "grace = '0s'", "apps.a.grace"),
        (APP + "timeout = '10'", "apps.a.timeout"),
        (APP + "timeout = '99999h'", "apps.a.timeout must be at most 24h"),
        (APP + "cluster = 'other'", "apps.a.cluster names no cluster"),
        ("[tree]\nbranch = '--force'", "tree.branch"),
        ("[tree]\nbranch = 'a..b'", "tree.branch"),
        ("[tree]\nbranch = 'a.lock'", "tree.branch"),
        ("[tree]\nnew = '../{kind}-{name}.yaml'", "tree.new must be a path inside"),
        ("[tree]\nnew = '{kind}/{nam}.yaml'", "tree.new must be made of"),
        ("[tree]\nroots = []", "tree.roots"),
        ("[[tree.roots]]\npath = '/etc'", "tree.roots.0.path must be a path inside"),
        ("[[tree.roots]]\npath = 'a/../../b'", "tree.roots.0.path must be a path inside"),
        ("[[tree.roots]]\npath = '.git/hooks'", "tree.roots.0.path must be a path inside"),
        ("[tree]\nadopt = ['*']", "tree.adopt.0 would take fields from every manager"),
        ("[peer]\nname = '-x'", "peer.name"),
        ("[peer]\ndescription = 1979-05-27T07:32:00Z\nx = nan", "peer.x is no key"),
        ("[[rules]]\nid = 'a'", "rules.0 must have either deny = true or require"),
        ("[[rules]]\nid = 'a'\ndeny = true\nrequire = {}", "rules.0 must have either deny = true or require"),
        ("[[rules]]\nid = 'a'\ndeny = true\n[[rules]]\nid = 'a'\ndeny = true", "the id a is there twice"),
        ("[[rules]]\nid = 'a'\ndeny = true\nwhen = 'x'", "rules.0.when is no key"),
        ("[[rules]]\nid = 'a'\nrequire = { approvals = 0 }", "rules.0.require.approvals"),
        ("[[rules]]\nid = 'a'\nrequire = { expires = '0h' }", "rules.0.require.expires"),
        ("[[rules]]\nid = 'a'\nrequire = { expires = '367d' }", "rules.0.require.expires must be at most 366d"),
        ("[circles.a]\nrate = '60'", "circles.a.rate must be a number in a time, such as 60/h"),
        ("[circles.a]\npeer_rate = '0/h'", "circles.a.peer_rate must be a number in a time, such as 60/h"),
        (FREEZE.replace("+01:00", ""), "freeze.0.from must be a date and time with its offset"),
        (FREEZE.replace("2026-12-20T18", "2026-02-30T18"), "freeze.0.from must be a date and time with its offset"),
        (FREEZE.replace("2026-12-20T18", "0000-02-30T18"), "freeze.0.from must be a date and time with its offset"),
        (FREEZE.replace("'2026-12-20T18:00:00+01:00'", "2026-12-20"), "freeze.0.from must be a date"),
        (FREEZE.replace("'2026-12-20T18:00:00+01:00'", "1766250000"), "freeze.0.from must be a date"),
        (FREEZE.replace("2026-12-20T18", "2028-12-20T18"), "freeze.0 must end after it begins"),
        (FREEZE.replace("2027-01-04T06", "2026-12-20T18"), "freeze.0 must end after it begins"),
        (FREEZE + "match = { app = ['a'] }", "freeze.0.match.app is no key"),
        (FREEZE + "when = 'x'", "freeze.0.when is no key"),
        (FREEZE.replace("id = 'a'", ""), "freeze.0.id is missing"),
        (FREEZE + FREEZE, "freeze: the id a is there twice"),
        ("[messages]\nkeep = '30'", "messages.keep"),
        ("[messages]\nkeep = '1y'", "messages.keep"),
        ("[messages]\nkept = '30d'", "messages.kept is no key"),
        ("a = ", "not TOML"),
        ("a = " + "[" * 5000, "nested too deeply"),
        ("peer = " + "[" * 300 + "]" * 300, ""),
        ("# " + "x" * 2**20, "larger than 1 MiB"),
    ],
)
def test_what_is_wrong_is_named_by_its_key(problem, text, says):
    assert says in problem(text)


def test_no_value_is_repeated_in_what_is_wrong(problem):
    secret = "hunter2-hunter2"
    texts = [
        f"[peer]\nname = '{secret} x'",
        f"[clusters.a]\ncontext = 'c'\nservice_accounts = '{secret} x'",
        f"[circles.docs]\nimages = ['{secret}*']\nactions = ['{secret}']\nnamespaces = ['{secret}!']",
        APP + f"schedule = 'Mon 09:00-17:00 {secret}'\norder = '{secret}'",
        FREEZE.replace("2026-12-20T18:00:00+01:00", secret),
        f"[messages]\nkeep = '{secret}'\n[attend]\nactions = ['{secret}']",
        APP + f"schedule = '{secret}'\non_failure = '{secret}'\ngrace = '{secret}'",
        f"[pull_secrets.X]\nfrom = '{secret}'\nname = '{secret} '",
        f"[circles.'{secret} x']",
    ]

    assert not [said for said in map(problem, texts) if secret in said]


def test_at_most_five_problems_are_named_and_the_rest_counted(problem):
    said = problem("\n".join(f"k{i} = 1" for i in range(8)))

    assert said.count("is no key") == 5
    assert "3 more" in said


def test_two_pull_secrets_of_a_circle_cannot_be_copied_to_one_secret(problem):
    text = "[pull_secrets.A]\nfrom='s/a'\nname='t'\n[pull_secrets.B]\nfrom='s/t'\n[circles.c]\npull_secrets=['A','B']"

    assert "copied to the Secret t" in problem(text)


def test_a_circle_cannot_reach_the_source_of_a_pull_secret_it_is_not_granted(problem):
    text = "[pull_secrets.A]\nfrom='shared-secrets/a'\n[circles.c]\nnamespaces=['shared-*']\n"

    assert "reaches the source of pull_secrets.A" in problem(text)
    assert load(text + "pull_secrets=['A']")


@pytest.mark.parametrize("namespace", ["kube-system", "default", "infra-mcp"])
def test_a_pattern_of_everything_does_not_reach_protected_namespaces(namespace):
    policy = load("[clusters.a]\ncontext='c'\n[circles.all]\nnamespaces=['*']")

    assert policy.reaches("all", "anything")
    assert not policy.reaches("all", namespace)


def test_protected_namespaces_are_so_without_a_cluster_too():
    policy = load("[circles.all]\nnamespaces=['*']")

    assert policy.reaches("all", "anything")
    assert not policy.reaches("all", "kube-system")
