"""activate.py FD[,FD...] COMMAND [ARG]...: runs the command in this process with the descriptors at
3, 4, ... and LISTEN_FDS and LISTEN_PID set, as a service manager would."""
import fcntl
import os
import sys

fds = [fcntl.fcntl(int(word), fcntl.F_DUPFD, 100) for word in sys.argv[1].split(",") if word]
for number, fd in enumerate(fds):
    os.dup2(fd, 3 + number)
    os.close(fd)
os.environ.update(LISTEN_FDS=str(len(fds)), LISTEN_PID=str(os.getpid()))
os.execvp(sys.argv[2], sys.argv[2:])
