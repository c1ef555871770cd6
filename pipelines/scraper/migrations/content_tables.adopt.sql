-- Tell Payload's history that the migration is done, once: for a database that was given the tables by hand.
INSERT INTO payload_migrations (name, batch, created_at, updated_at)
SELECT 'content_tables', coalesce(max(batch), 0) + 1, now(), now()
FROM payload_migrations
HAVING NOT coalesce(bool_or(name = 'content_tables'), false);
