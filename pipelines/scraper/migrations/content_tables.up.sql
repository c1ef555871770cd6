-- Four tables of a neighbouring feature that were once made by hand, and what Payload keeps about every collection: without these
-- columns every write to the CMS answers 500. Safe on a fresh database and on one that has some or all of it.
-- A database that has all of it needs content_tables.adopt.sql only.
BEGIN;

CREATE TABLE IF NOT EXISTS content_projects (
    id serial PRIMARY KEY,
    name varchar NOT NULL,
    slug varchar,
    status varchar DEFAULT 'active',
    description varchar,
    config jsonb DEFAULT '{}',
    created_at timestamptz(3) NOT NULL DEFAULT now(),
    updated_at timestamptz(3) NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS content_jobs (
    id serial PRIMARY KEY,
    project_id integer REFERENCES content_projects (id) ON DELETE SET NULL,
    job_type varchar NOT NULL,
    status varchar DEFAULT 'pending',
    priority integer DEFAULT 0,
    input jsonb DEFAULT '{}',
    output jsonb DEFAULT '{}',
    error varchar,
    started_at timestamptz(3),
    completed_at timestamptz(3),
    created_at timestamptz(3) NOT NULL DEFAULT now(),
    updated_at timestamptz(3) NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS source_registry (
    id serial PRIMARY KEY,
    name varchar NOT NULL,
    source_type varchar NOT NULL,
    url varchar,
    config jsonb DEFAULT '{}',
    last_checked_at timestamptz(3),
    created_at timestamptz(3) NOT NULL DEFAULT now(),
    updated_at timestamptz(3) NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS editorial_directives (
    id serial PRIMARY KEY,
    name varchar NOT NULL,
    directive_type varchar NOT NULL,
    content varchar,
    scope varchar,
    config jsonb DEFAULT '{}',
    created_at timestamptz(3) NOT NULL DEFAULT now(),
    updated_at timestamptz(3) NOT NULL DEFAULT now()
);

ALTER TABLE payload_locked_documents_rels
    ADD COLUMN IF NOT EXISTS content_projects_id integer,
    ADD COLUMN IF NOT EXISTS content_jobs_id integer,
    ADD COLUMN IF NOT EXISTS source_registry_id integer,
    ADD COLUMN IF NOT EXISTS editorial_directives_id integer;

CREATE INDEX IF NOT EXISTS payload_locked_documents_rels_content_projects_id_idx
    ON payload_locked_documents_rels (content_projects_id);
CREATE INDEX IF NOT EXISTS payload_locked_documents_rels_content_jobs_id_idx
    ON payload_locked_documents_rels (content_jobs_id);
CREATE INDEX IF NOT EXISTS payload_locked_documents_rels_source_registry_id_idx
    ON payload_locked_documents_rels (source_registry_id);
CREATE INDEX IF NOT EXISTS payload_locked_documents_rels_editorial_directives_id_idx
    ON payload_locked_documents_rels (editorial_directives_id);

ALTER TABLE payload_preferences_rels
    ADD COLUMN IF NOT EXISTS content_projects_id integer,
    ADD COLUMN IF NOT EXISTS content_jobs_id integer,
    ADD COLUMN IF NOT EXISTS source_registry_id integer,
    ADD COLUMN IF NOT EXISTS editorial_directives_id integer;

COMMIT;

\ir content_tables.adopt.sql
