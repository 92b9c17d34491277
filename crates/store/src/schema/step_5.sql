-- 5: what is known of every device, images and releases, offers and how they
-- go, download and device tokens, backups, activations; scopes of API tokens.

-- A token may do what its scopes say, instead of reading or everything.
CREATE TABLE tokens_with_scopes (
    name TEXT PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    scopes TEXT NOT NULL CHECK (scopes <> ''),
    created INTEGER NOT NULL,
    last_used INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO tokens_with_scopes (name, hash, scopes, created, last_used)
    SELECT name, hash, 'all:' || scope, created, last_used FROM tokens;
DROP TABLE tokens;
ALTER TABLE tokens_with_scopes RENAME TO tokens;

-- AUTOINCREMENT: a number is never used for a second device.
CREATE TABLE members (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    device TEXT UNIQUE REFERENCES devices (name) ON DELETE SET NULL,
    family TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE TABLE identities (
    member INTEGER NOT NULL REFERENCES members (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    proved INTEGER NOT NULL CHECK (proved IN (0, 1)),
    PRIMARY KEY (member, kind, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX identities_values ON identities (kind, value);
CREATE UNIQUE INDEX identities_proved ON identities (kind, value) WHERE proved = 1;
CREATE TABLE member_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    member INTEGER NOT NULL REFERENCES members (id) ON DELETE CASCADE,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX member_events_members ON member_events (member, id);
CREATE INDEX member_events_times ON member_events (at);
CREATE TABLE quarantine (
    key TEXT PRIMARY KEY,
    member INTEGER REFERENCES members (id) ON DELETE SET NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    count INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX quarantine_times ON quarantine (last_at);
CREATE INDEX quarantine_members ON quarantine (member);

CREATE TABLE images (
    hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
    bytes INTEGER NOT NULL,
    file_name TEXT NOT NULL,
    family TEXT,
    body TEXT NOT NULL,
    created INTEGER NOT NULL,
    who TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX images_created ON images (created);
CREATE TABLE releases (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    created INTEGER NOT NULL,
    who TEXT NOT NULL,
    removed INTEGER
) STRICT;
CREATE UNIQUE INDEX releases_names ON releases (name) WHERE removed IS NULL;
CREATE TABLE release_images (
    release INTEGER NOT NULL REFERENCES releases (id) ON DELETE CASCADE,
    class TEXT NOT NULL,
    step INTEGER NOT NULL,
    image BLOB NOT NULL REFERENCES images (hash),
    PRIMARY KEY (release, class, step)
) STRICT, WITHOUT ROWID;
CREATE INDEX release_images_images ON release_images (image);

CREATE TABLE offers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    member INTEGER NOT NULL REFERENCES members (id) ON DELETE CASCADE,
    release INTEGER REFERENCES releases (id),
    image BLOB,
    state TEXT NOT NULL,
    open INTEGER NOT NULL CHECK (open IN (0, 1)),
    body TEXT NOT NULL,
    who TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX offers_open ON offers (member) WHERE open = 1;
CREATE INDEX offers_members ON offers (member, id);
CREATE INDEX offers_releases ON offers (release) WHERE release IS NOT NULL;
CREATE INDEX offers_images ON offers (image) WHERE open = 1;
CREATE INDEX offers_closed ON offers (updated) WHERE open = 0;

CREATE TABLE downloads (
    token TEXT PRIMARY KEY,
    offer INTEGER REFERENCES offers (id) ON DELETE CASCADE,
    member INTEGER REFERENCES members (id) ON DELETE CASCADE,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX downloads_offers ON downloads (offer);
CREATE INDEX downloads_members ON downloads (member);
CREATE INDEX downloads_expire ON downloads (expires);
CREATE TABLE download_files (
    token TEXT NOT NULL REFERENCES downloads (token) ON DELETE CASCADE,
    file TEXT NOT NULL,
    step INTEGER NOT NULL,
    image BLOB NOT NULL REFERENCES images (hash) ON DELETE CASCADE,
    gets INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    last_at INTEGER,
    PRIMARY KEY (token, file)
) STRICT, WITHOUT ROWID;
CREATE INDEX download_files_images ON download_files (image);
CREATE TABLE device_tokens (
    device TEXT PRIMARY KEY REFERENCES devices (name) ON DELETE CASCADE,
    token TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    gets INTEGER NOT NULL DEFAULT 0,
    last_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE backups (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    member INTEGER NOT NULL REFERENCES members (id) ON DELETE CASCADE,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    version TEXT,
    file_name TEXT NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    bytes INTEGER NOT NULL,
    who TEXT NOT NULL
) STRICT;
CREATE INDEX backups_members ON backups (member, id);
CREATE INDEX backups_hashes ON backups (hash);
CREATE TABLE activations (
    code TEXT PRIMARY KEY,
    mac TEXT NOT NULL UNIQUE,
    uuid TEXT,
    body TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX activations_expire ON activations (expires);
