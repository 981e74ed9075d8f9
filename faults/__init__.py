"""Drills: faults brought about on purpose, on real processes, sockets and disks of this machine."""
