"""The service's bad days, brought about on purpose: real processes, sockets and disks, all on this machine."""
