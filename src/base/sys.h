/* Thin wrappers of system calls and of /proc. No policy. */
#ifndef PREFORKD_BASE_SYS_H
#define PREFORKD_BASE_SYS_H

#include <sys/resource.h>
#include <sys/types.h>

#include "base/buf.h"

/* Reads a whole regular file of at most `max` bytes without ever blocking on it.
 * -EISDIR, -EINVAL (a FIFO, a device), -EFBIG, or what open(2) and read(2) say. */
int sys_read_file(const char *path, size_t max, struct buf *out);

/* The same for files of /proc and /sys, whose size is not known beforehand. */
int sys_read_pseudo(const char *path, size_t max, struct buf *out);

/* A number below /proc/sys; `fallback` where that is hidden. */
int sys_sysctl(const char *path, int fallback);

/* Writes a small file by way of a temporary name beside it and rename(2): a reader sees the old
 * text or the new one. The mode is exact, whatever the umask. Nothing is synced: it is for run
 * files. */
int sys_write_file_atomic(const char *path, const char *text, mode_t mode);

/* Sets or clears FD_CLOEXEC or O_NONBLOCK. */
int sys_set_cloexec(int fd, bool on);
int sys_set_nonblock(int fd, bool on);

/* A signal's number by its name ("TERM", "SIGTERM", "sigterm", "RTMIN+3", "15") or -EINVAL. */
int sys_signal_number(const char *name);

/* Its name without "SIG", "?" for no signal. A real-time signal's name is valid until the next
 * call.
 */
const char *sys_signal_name(int signo);

/* Parent, process group and session of a process from /proc/PID/stat. -ESRCH when it is gone. */
struct sys_proc {
    pid_t ppid;
    pid_t pgrp;
    pid_t session;
    bool ending;  /* it has no memory any more, as a zombie and as one that is about to be */
    bool exiting; /* it is on its way there (PF_EXITING in the kernel's sched.h) or beyond */
    char state;
    char comm[64];
};
int sys_proc_stat(pid_t pid, struct sys_proc *out);

/* Whether `pid` is `ancestor` or descends from it, as far as /proc can tell now. */
bool sys_is_descendant(pid_t pid, pid_t ancestor);

/* Whether a process may bind any port: CAP_NET_BIND_SERVICE in its effective set, by
 * /proc/PID/status. false when that cannot be read. */
bool sys_may_bind_privileged(pid_t pid);

/* The same of any capability(7), by its number. */
bool sys_has_capability(pid_t pid, int capability);

/* The first port that an ordinary user may bind: net.ipv4.ip_unprivileged_port_start. */
int sys_first_unprivileged_port(void);

/* bpf(2); a descriptor, 0, or -errno. Descriptors are close-on-exec. */
union bpf_attr;
int sys_bpf(int command, union bpf_attr *attr, unsigned size);

/* A descriptor (close-on-exec) that becomes readable when the process ends: pidfd_open(2). */
int sys_pidfd_open(pid_t pid);

/* A signal that cannot hit a stranger: pidfd_send_signal(2). */
int sys_pidfd_kill(int pidfd, int signo);

/* One message of a Unix socket with a descriptor beside it, or -1 for none: unix(7). The received
 * one is close-on-exec and the caller's. Sending is async-signal-safe. 0, the length, or -errno. */
int sys_send_with_fd(int socket, const void *data, size_t len, int fd);
ssize_t sys_receive_with_fd(int socket, void *data, size_t size, int *fd);

/* Opens /dev/null on whichever of 0, 1, 2 is closed, and sets FD_CLOEXEC on everything above. */
void sys_sanitize_descriptors(void);

/* A random UUID (RFC 4122, version 4) as text; returns `out`. Never waits for randomness. */
#define SYS_UUID_TEXT sizeof("01234567-89ab-4cde-8f01-23456789abcd")
char *sys_random_uuid(char out[static SYS_UUID_TEXT]);

/* Raises this process's soft limit of open files to the hard one, and puts back what it was (in a
 * child: programs that use select(2) rely on it; async-signal-safe). `first` is what it was before
 * another program in this process raised it, 0: none did. */
void sys_raise_nofile(rlim_t first);
rlim_t sys_first_nofile(void);
void sys_restore_nofile(void);

/* Kills and reaps every child that is left, and their children as they are handed to us; gives up
 * after about half a second. For the very end of the program. */
void sys_kill_children(void);

#endif
