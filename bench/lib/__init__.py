# SPDX-License-Identifier: MIT
"""What the rows of `make bench` share.

table    a row, medians, the table and the result file
wrk      one run of wrk and what it says
procs    CPU time and memory of process groups
peer     the peer: its packages, its start and its end
ours     our daemons: schema, start and end
limits   the programs that show what the servers alone can do
bench    one measurement: who takes part, in which rounds, and what came out

The servers themselves are tests/lib/servers.py's.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "tests/lib"))
