-- 8: the sound of turns: which files there are, and which have no turn any more.
CREATE TABLE recordings (
    talk INTEGER PRIMARY KEY REFERENCES talks (id) ON DELETE CASCADE,
    device TEXT NOT NULL,
    name TEXT NOT NULL UNIQUE,
    until INTEGER NOT NULL,
    heard_bytes INTEGER,
    heard_ms INTEGER,
    said_bytes INTEGER,
    said_ms INTEGER,
    weight INTEGER NOT NULL
) STRICT;
CREATE INDEX recordings_devices ON recordings (device, talk, weight);
CREATE INDEX recordings_until ON recordings (until);

-- Whatever removes a turn says here which files have to go.
CREATE TABLE recordings_gone (
    name TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
CREATE TABLE recordings_total (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    weight INTEGER NOT NULL
) STRICT;
INSERT INTO recordings_total (id, weight) VALUES (1, 0);
CREATE TRIGGER recordings_come AFTER INSERT ON recordings BEGIN
    UPDATE recordings_total SET weight = weight + new.weight;
END;
CREATE TRIGGER recordings_go AFTER DELETE ON recordings BEGIN
    UPDATE recordings_total SET weight = weight - old.weight;
    INSERT OR IGNORE INTO recordings_gone (name) VALUES (old.name);
END;
