#!/usr/bin/env python3
"""A reader that is in the middle of a file when its grant ends.

reader.py FILE READY   reads the first half, makes the file READY, then goes on reading the same bytes
again and again through the same descriptor until the kernel refuses, and prints what it was refused
with: "EACCES". Ends with 1 if it could read for 60 seconds.
"""
import errno
import os
import sys
import time

fd = os.open(sys.argv[1], os.O_RDONLY)
size = os.fstat(fd).st_size
half = size // 2
done = 0
while done < half:
    done += len(os.pread(fd, min(65536, half - done), done))
open(sys.argv[2], "w").close()
end = time.monotonic() + 60
try:
    while time.monotonic() < end:
        if not os.pread(fd, 4096, half):
            print("EOF")
            sys.exit(1)
except OSError as e:
    print(errno.errorcode[e.errno])
    sys.exit(0)
print("still readable")
sys.exit(1)
