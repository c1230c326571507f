"""`python -m jobs` with the toy stages in place of the real ones."""

import sys

from jobs import stages
from jobs.__main__ import main
from tests.jobs.toys import download, tokenize

stages.LOADED["download"] = download.STAGE
stages.LOADED["tokenize"] = tokenize.STAGE
sys.exit(main())
