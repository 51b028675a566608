-- The first edition's schema, as sqlite_master of such a ledger has it.
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE meta (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (name)
);
CREATE TABLE events (
    seq INTEGER NOT NULL,
    at TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT,
    request TEXT,
    ask TEXT,
    peer TEXT,
    circle TEXT,
    namespaces TEXT NOT NULL,
    objects TEXT NOT NULL,
    text TEXT NOT NULL,
    data TEXT NOT NULL,
    prev TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (hash)
);
CREATE INDEX events_by_request ON events (request, seq);
CREATE INDEX events_by_circle ON events (circle, seq);
CREATE TABLE subjects (
    what TEXT NOT NULL,
    value TEXT NOT NULL,
    seq INTEGER NOT NULL,
    request TEXT,
    PRIMARY KEY (what, value, seq),
    FOREIGN KEY(seq) REFERENCES events (seq)
);
CREATE TABLE requests (
    id TEXT NOT NULL,
    position INTEGER NOT NULL,
    caller TEXT NOT NULL,
    circle TEXT,
    strength TEXT NOT NULL,
    operator BOOLEAN NOT NULL,
    door TEXT NOT NULL,
    action TEXT NOT NULL,
    digest TEXT NOT NULL,
    state TEXT NOT NULL,
    open BOOLEAN NOT NULL,
    created TEXT NOT NULL,
    words TEXT NOT NULL,
    reason TEXT NOT NULL,
    idempotency_key TEXT,
    dry_run BOOLEAN NOT NULL,
    ask TEXT,
    commit_id TEXT,
    revert_id TEXT,
    effect_digest TEXT,
    record TEXT NOT NULL,
    receipt TEXT,
    PRIMARY KEY (id),
    CONSTRAINT one_request_a_key UNIQUE (caller, idempotency_key),
    UNIQUE (position)
);
CREATE INDEX requests_by_open ON requests (open, caller);
CREATE INDEX requests_by_circle ON requests (circle, position);
CREATE TABLE asks (
    id TEXT NOT NULL,
    sender TEXT NOT NULL,
    circle TEXT,
    receiver TEXT NOT NULL,
    text TEXT NOT NULL,
    created TEXT NOT NULL,
    request TEXT,
    state TEXT NOT NULL,
    reply TEXT,
    responder TEXT,
    acked_at TEXT,
    PRIMARY KEY (id),
    FOREIGN KEY(request) REFERENCES requests (id)
);
CREATE INDEX asks_by_request ON asks (request);
CREATE TABLE outbox (
    ask TEXT NOT NULL,
    receiver TEXT NOT NULL,
    created TEXT NOT NULL,
    delivered TEXT,
    PRIMARY KEY (ask),
    FOREIGN KEY(ask) REFERENCES asks (id)
);
CREATE INDEX outbox_by_delivered ON outbox (delivered);
CREATE TABLE peers (
    name TEXT NOT NULL,
    circle TEXT NOT NULL,
    description TEXT NOT NULL,
    created TEXT NOT NULL,
    PRIMARY KEY (name)
);
CREATE TABLE tokens (
    hash TEXT NOT NULL,
    peer TEXT NOT NULL,
    created TEXT NOT NULL,
    PRIMARY KEY (hash),
    FOREIGN KEY(peer) REFERENCES peers (name) ON DELETE CASCADE
);
CREATE INDEX tokens_by_peer ON tokens (peer);
CREATE TABLE policies (
    id INTEGER NOT NULL,
    digest TEXT NOT NULL,
    text TEXT NOT NULL,
    "by" TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (id)
);
CREATE TRIGGER events_no_update BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_in_order BEFORE INSERT ON events
    WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM events)
      OR NEW.prev IS NOT coalesce((SELECT hash FROM events ORDER BY seq DESC LIMIT 1), printf('%064d', 0))
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE VIRTUAL TABLE events_search
    USING fts5(text, peer, namespaces, objects, kind, content='', tokenize="unicode61 remove_diacritics 2");
INSERT INTO alembic_version (version_num) VALUES ('0001');
