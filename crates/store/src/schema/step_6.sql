-- 6: passwords of devices' own pages; why a backup was taken, and when the same
-- bytes were found again.
CREATE TABLE web_passwords (
    member INTEGER PRIMARY KEY REFERENCES members (id) ON DELETE CASCADE,
    password TEXT NOT NULL CHECK (password <> ''),
    since INTEGER NOT NULL
) STRICT;
ALTER TABLE backups ADD COLUMN why TEXT NOT NULL DEFAULT '';
ALTER TABLE backups ADD COLUMN again_at INTEGER;
