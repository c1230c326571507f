"""The steps from each schema that a catalog once had to the next (Alembic). schema.py decides when they run.

A revision is a file in versions/, numbered; once released it is never changed. It holds on SQLite and on PostgreSQL and
knows nothing of the program's own tables, which go on changing after it. A new one is written so: change the tables,
raise HEAD in schema.py, write the revision, and add a catalog of the revision before to tests/cluster/catalogs.
"""
