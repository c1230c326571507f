"""What the application stands on: machines (Ray's nodes), store (artifacts) and catalog (jobs and artifacts, as rows).

They do not import one another.
"""
