-- Takes back content_tables.up.sql. What the tables hold is lost.
BEGIN;

ALTER TABLE payload_preferences_rels
    DROP COLUMN IF EXISTS content_projects_id,
    DROP COLUMN IF EXISTS content_jobs_id,
    DROP COLUMN IF EXISTS source_registry_id,
    DROP COLUMN IF EXISTS editorial_directives_id;

ALTER TABLE payload_locked_documents_rels
    DROP COLUMN IF EXISTS content_projects_id,
    DROP COLUMN IF EXISTS content_jobs_id,
    DROP COLUMN IF EXISTS source_registry_id,
    DROP COLUMN IF EXISTS editorial_directives_id;

DROP TABLE IF EXISTS content_jobs, content_projects, source_registry, editorial_directives;

DELETE FROM payload_migrations WHERE name = 'content_tables';

COMMIT;
