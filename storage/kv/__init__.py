"""Key-value stores on semidbm files, and in memory.

files.py         the stores of a process on files           memory.py    the same in dictionaries
guild.py         what a call means: checks, quotas, atomic changes (files and memory alike)
limits.py        sizes, rates and their error texts        values.py    JSON, numbers, equality   incoming.py
live_store.py    one open store: order, expiry, accounting  sorted_keys.py
data_file.py     one semidbm file under it                  record.py   what a record holds
scan.py          reading and repairing a file at open       compaction.py
folder.py        a guild's folder: lock, names, store records   adopt.py   made for what a database names
durability.py    when writes reach the disk                 handles.py  which stores stay open
export_file.py   all stores of a guild in one file           export_folder.py   where such files are kept
"""

from __future__ import annotations

from flora.storage.kv.durability import Durability
from flora.storage.kv.files import KvFiles
from flora.storage.kv.limits import KvLimits
from flora.storage.kv.memory import MemoryKv

__all__ = ["Durability", "KvFiles", "KvLimits", "MemoryKv"]
