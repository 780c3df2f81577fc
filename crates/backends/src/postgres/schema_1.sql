-- Version 1 of the tables. No triggers, no defaults that read the clock, no arithmetic: the ledger decides everything.

CREATE TABLE meta (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    cluster_id bytea NOT NULL CHECK (octet_length(cluster_id) = 16),
    id_key bytea NOT NULL CHECK (octet_length(id_key) = 16)
);
COMMENT ON TABLE meta IS 'What makes the public ids of this journal its own. id_key is a secret.';

CREATE TABLE epochs (
    epoch int8 PRIMARY KEY,
    first_position int8 NOT NULL
);

CREATE TABLE head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    position int8 NOT NULL,
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    timestamp_ns int8 NOT NULL,
    epoch int8 NOT NULL
) WITH (fillfactor = 10);
COMMENT ON TABLE head IS 'Where the journal ends. Locked by whoever writes the next batch.';

CREATE TABLE frames (
    first_position int8 PRIMARY KEY,
    bytes bytea NOT NULL
);
ALTER TABLE frames ALTER COLUMN bytes SET STORAGE EXTERNAL;
COMMENT ON TABLE frames IS 'The journal: the truth, verbatim as on every backend. All other tables are derived from it.';

CREATE TABLE keys (
    hash int8 NOT NULL,
    position int8 NOT NULL,
    PRIMARY KEY (hash, position)
);
COMMENT ON TABLE keys IS 'Where to look for an idempotency key, a reference, an external id or a change of a payment.';

CREATE TABLE owners (
    id int8 PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    changed_at int8 NOT NULL,
    image bytea NOT NULL
);

CREATE TABLE accounts (
    id int8 PRIMARY KEY,
    owner int8 NOT NULL,
    kind text NOT NULL,
    currency text NOT NULL,
    status text NOT NULL,
    posted int8 NOT NULL,
    held int8 NOT NULL,
    opened_at timestamptz NOT NULL,
    changed_at int8 NOT NULL,
    image bytea NOT NULL
) WITH (fillfactor = 70);
COMMENT ON TABLE accounts IS 'Accounts as of the head. id and changed_at are positions; posted and held are minor units.';

CREATE TABLE payments (
    id int8 PRIMARY KEY,
    kind text NOT NULL,
    status text NOT NULL,
    owner int8 NOT NULL,
    asked_by int8 NOT NULL,
    source int8 NOT NULL,
    currency text NOT NULL,
    amount int8 NOT NULL,
    held int8 NOT NULL,
    captured int8 NOT NULL,
    refunded int8 NOT NULL,
    created_at timestamptz NOT NULL,
    changed_at int8 NOT NULL,
    image bytea NOT NULL
);
COMMENT ON TABLE payments IS 'Payments as of the head, failed ones too. Amounts are minor units. asked_by: whose key sent it.';
CREATE INDEX payments_open ON payments (id) WHERE held > 0 OR status = 'queued';

CREATE INDEX payments_queued ON payments (asked_by) WHERE status = 'queued';

CREATE TABLE queue (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    mode text NOT NULL,
    changed_at int8 NOT NULL,
    image bytea NOT NULL
);
COMMENT ON TABLE queue IS 'Whether queued payments run and new ones are accepted. No row: it was never paused or drained.';

CREATE TABLE payment_references (
    owner int8 NOT NULL,
    reference bytea NOT NULL,
    payment int8 NOT NULL,
    PRIMARY KEY (owner, reference)
);
COMMENT ON TABLE payment_references IS 'reference is UTF-8: convert_from(reference, ''UTF8'').';

CREATE TABLE external_ids (
    owner int8 NOT NULL,
    external_id bytea NOT NULL,
    account int8 NOT NULL,
    PRIMARY KEY (owner, external_id)
);
COMMENT ON TABLE external_ids IS 'external_id is UTF-8: convert_from(external_id, ''UTF8'').';

CREATE TABLE api_keys (
    id int8 PRIMARY KEY,
    owner int8 NOT NULL,
    status text NOT NULL,
    changed_at int8 NOT NULL,
    image bytea NOT NULL
);
