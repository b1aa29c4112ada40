"""A worker's key-value stores: who owns which guild's, and when they are opened, looked after and closed.

service.py     every guild of a worker: open at first use, close when the guild leaves
lane.py        one guild: its jobs in order, on the worker's thread or beside it
jobs.py        what can be done with a guild's stores: operations of scripts, calls of clients, upkeep
script_ops.py  operations of scripts → calls of `KvGuild` → JSON        client_ops.py  the same for clients
backends.py    where the stores are, and which thread may wait for them
exports.py     all stores of a guild into a file and back, beside the worker's thread
upkeep.py      sweeping and compacting, a millisecond at a time
index.py       keeps the table `kv_stores` saying the same as the files
"""
