"""The life of a job: resolve, submit, admit, run, record."""
