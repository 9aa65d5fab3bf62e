# SPDX-License-Identifier: MIT
"""The local stack: servers for development and tests, run without a container engine.

layout   where things lie in a run folder; passwords; the env file
fetch    the root file system and FerretDB, built once into ~/.cache/onboard
ports    a free block of ports, remembered
sandbox  one process tree under bubblewrap, signalled from outside
probes   asking each server whether it is usable, in its own protocol
servers  the servers: how each is prepared, started, asked and stopped
daemons  onboard's own daemons
keeper   one thread a server: start, wait for ready, watch, restart
supervisor  the parent of all of them, and its control socket
client   talking to the supervisor; commands as a person types them are in cli
"""
