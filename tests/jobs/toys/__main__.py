"""`python -m jobs` with the toy stages in place of the real ones."""

import sys

from jobs import stages
from jobs.__main__ import main

stages.MODULES["download"] = "tests.jobs.toys.download"
stages.MODULES["tokenize"] = "tests.jobs.toys.tokenize"
sys.exit(main())
