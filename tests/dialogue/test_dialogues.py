#!/usr/bin/python3
"""Runs every .smtpt file of tests/dialogue through `tern test`; each must pass whole."""
import glob
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from ternlib import BINARY, MODULES, SLOW

files = sorted(glob.glob(os.path.join(HERE, "*.smtpt")) + glob.glob(os.path.join(HERE, "..", "..", "lua", "examples", "*.smtpt")))
r = subprocess.run([BINARY, "test", *files], env=dict(os.environ, TERN_MODULE_PATH=MODULES), timeout=120 * SLOW)
sys.exit(1 if r.returncode != 0 or not files else 0)
