"""What the application stands on: machines (Ray's nodes), store (artifacts) and records (the catalog).

They do not import one another.
"""
