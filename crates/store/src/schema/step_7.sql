-- 7: what devices and their agents said to each other, a row for each turn, and
-- how long each stage of the answer took.
CREATE TABLE talks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    device TEXT NOT NULL REFERENCES devices (name) ON DELETE CASCADE,
    at INTEGER NOT NULL,
    until INTEGER NOT NULL,
    conversation TEXT NOT NULL,
    agent TEXT NOT NULL,
    heard TEXT NOT NULL,
    said TEXT NOT NULL,
    failure TEXT NOT NULL,
    interrupted INTEGER NOT NULL CHECK (interrupted IN (0, 1)),
    transcript_ms INTEGER,
    token_ms INTEGER,
    audio_ms INTEGER
) STRICT;
CREATE INDEX talks_devices ON talks (device, id);
CREATE INDEX talks_until ON talks (until);
