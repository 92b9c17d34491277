-- 9: programs that may bring their tools to an agent; of a token, only its hash.
CREATE TABLE programs (
    agent TEXT NOT NULL,
    name TEXT NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    created INTEGER NOT NULL,
    last_seen INTEGER,
    PRIMARY KEY (agent, name)
) STRICT;
