"""The steps from each schema that a catalog had to the next (Alembic). schema.py decides when they run.

A revision is a file in versions/, numbered; once released it is never changed. It works on SQLite and on PostgreSQL and does
not import the program's own tables, which change after it. To add one: change the tables, add its number to REVISIONS in
schema.py, write the revision, and add a test that takes a catalog of the revision before to it.
"""
