/* For unit tests: sockets that belong to others, and a kernel that refuses some. */
#ifndef PREFORKD_TESTS_SOCKETS_H
#define PREFORKD_TESTS_SOCKETS_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <linux/filter.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "policy/sockspec.h"

static UNUSED struct sockspec spec_for(const char *text, uint16_t port)
{
    struct sockspec spec;
    struct why why;

    cr_assert_eq(sockspec_parse(text, &spec, &why), 0, "%s", text);
    if (port)
        spec.port = port;
    return spec;
}

static UNUSED uint16_t port_of(int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t len = sizeof(a);

    cr_assert_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    return ntohs(a.ss_family == AF_INET ? ((struct sockaddr_in *)&a)->sin_port
                                        : ((struct sockaddr_in6 *)&a)->sin6_port);
}

static UNUSED uint64_t inode_of(int fd)
{
    struct stat st;

    cr_assert_eq(fstat(fd, &st), 0);
    return st.st_ino;
}

static UNUSED int socket_for(const struct sockspec *spec)
{
    int family = spec->kind == SOCKSPEC_UNIX  ? AF_UNIX
                 : spec->kind == SOCKSPEC_IP4 ? AF_INET
                                              : AF_INET6;
    int fd = socket(family, (spec->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);

    cr_assert_geq(fd, 0);
    return fd;
}

/* A socket as any other server makes it. -errno when it cannot. */
static UNUSED int plain_listener(const struct sockspec *spec, bool reuseport)
{
    struct sockaddr_storage a;
    socklen_t len = sockspec_sockaddr(spec, 0, &a);
    int fd = socket_for(spec), one = 1, err = 0;
    int v6only = spec->kind == SOCKSPEC_IP6 && !IN6_IS_ADDR_V4MAPPED(&spec->ip6);

    if (spec->kind == SOCKSPEC_IP6 || spec->kind == SOCKSPEC_DUAL)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only));
    if (reuseport)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&a, len) < 0 || (!spec->udp && listen(fd, 128) < 0)) {
        err = -errno;
        close(fd);
    }
    return err < 0 ? err : fd;
}

static UNUSED int nonblocking(int fd)
{
    cr_assert_geq(fd, 0, "%s", strerror(-fd));
    cr_assert_eq(ioctl(fd, FIONBIO, &(int){1}), 0);
    return fd;
}

/* Accepts what waits on a non-blocking listener, hangs up, and counts. */
static UNUSED int accept_all(int listener)
{
    int fd, n = 0;

    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        close(fd);
        n++;
    }
    return n;
}

enum { ARRIVAL_MS = 10000 }; /* what was sent on the loopback is there long before */

static UNUSED void put_end(const struct sockaddr_storage *a, __be16 *port, __be32 *address)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)a;
    const struct sockaddr_in *in = (const struct sockaddr_in *)a;

    *port = a->ss_family == AF_INET ? in->sin_port : in6->sin6_port;
    if (a->ss_family == AF_INET)
        memcpy(address, &in->sin_addr, sizeof(in->sin_addr));
    else
        memcpy(address, &in6->sin6_addr, sizeof(in6->sin6_addr));
}

/* Whether the last packet of a handshake is still on its way to the other end, see sock_diag(7). */
static UNUSED bool is_half_open(int fd, int netlink)
{
    struct sockaddr_storage ours = {0}, theirs = {0};
    socklen_t len = sizeof(ours), theirs_len = sizeof(theirs);
    struct {
        struct nlmsghdr header;
        struct inet_diag_req_v2 body;
    } q = {
        {.nlmsg_len = sizeof(q), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST},
        {.sdiag_protocol = IPPROTO_TCP,
         .idiag_states = ~0u,
         .id.idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}};
    struct {
        struct nlmsghdr header;
        struct inet_diag_msg body;
        char attributes[1024];
    } a;

    getsockname(fd, (struct sockaddr *)&ours, &len);
    getpeername(fd, (struct sockaddr *)&theirs, &theirs_len);
    q.body.sdiag_family = (__u8)ours.ss_family;
    put_end(&theirs, &q.body.id.idiag_sport, q.body.id.idiag_src);
    put_end(&ours, &q.body.id.idiag_dport, q.body.id.idiag_dst);
    return send(netlink, &q, sizeof(q), 0) == sizeof(q) && recv(netlink, &a, sizeof(a), 0) > 0 &&
           a.header.nlmsg_type == SOCK_DIAG_BY_FAMILY && a.body.idiag_state == TCP_SYN_RECV;
}

/* connect(2) returns when this end knows of the connection. On a busy machine the other end may
 * learn of it later, from another thread of the kernel, and only then it waits to be accepted. */
static UNUSED void await_arrival(int fd)
{
    CLEANUP_CLOSE int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

    for (int ms = 0; ms < ARRIVAL_MS && netlink >= 0 && is_half_open(fd, netlink); ms++)
        usleep(1000);
}

/* Connected to `spec` at `port`; a wildcard is reached on the loopback. TCP connections can be
 * accepted by then. -errno when refused. */
static UNUSED int connect_to(const struct sockspec *spec, uint16_t port)
{
    struct sockaddr_storage a;
    socklen_t len = sockspec_sockaddr(spec, port, &a);
    int fd = socket_for(spec), err;

    if (connect(fd, (struct sockaddr *)&a, len) == 0) {
        if (spec->kind != SOCKSPEC_UNIX && !spec->udp)
            await_arrival(fd);
        return fd;
    }
    err = -errno;
    close(fd);
    return err;
}

/* Another process, named "foreigner", that holds `n` sockets on `spec`. */
struct foreigner {
    pid_t pid;
    uint16_t port;
};

static UNUSED struct foreigner foreigner_start(struct sockspec spec, int n, bool reuseport)
{
    struct foreigner f = {0};
    int ends[2];

    cr_assert_eq(pipe(ends), 0);
    f.pid = fork();
    if (f.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, "foreigner");
        for (int i = 0; i < n; i++) {
            int fd = plain_listener(&spec, reuseport);

            if (fd < 0)
                _exit(1);
            spec.port = spec.kind == SOCKSPEC_UNIX ? 0 : port_of(fd);
        }
        if (write(ends[1], &spec.port, sizeof(spec.port)) == sizeof(spec.port))
            for (;;)
                pause();
        _exit(1);
    }
    close(ends[1]);
    cr_assert_eq(read(ends[0], &f.port, sizeof(f.port)), sizeof(f.port));
    close(ends[0]);
    return f;
}

static UNUSED void foreigner_end(struct foreigner f)
{
    kill(f.pid, SIGKILL);
    waitpid(f.pid, NULL, 0);
}

/* From now on socket(2) fails for a family, as under RestrictAddressFamilies= of systemd. For the
 * rest of this process: Criterion gives each test its own. */
static UNUSED void forbid_family(unsigned family)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, family, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = ARRAY_SIZE(code), .filter = code};

    cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
    cr_assert_eq(socket((int)family, SOCK_STREAM, 0), -1);
}

static UNUSED int count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

#endif
