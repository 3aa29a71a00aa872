#include "mechanism/sockopts.h"

#include <linux/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/socket.h>

enum how {
    PLAIN,   /* what was read is what is written */
    CARRIED, /* the same, and sockopts_carry() takes it along */
    DOUBLED, /* carried as well; the kernel doubles what is written, see SO_RCVBUF in socket(7) */
    UNSET,   /* reads as a default until set; zero unsets it */
};

/* In the order of writing: SO_RCVLOWAT may enlarge the buffer, and writing a buffer size switches
 * the kernel's own tuning of it off, which SO_BUF_LOCK puts back. */
static const struct option {
    int level;
    int name;
    enum how how;
    int force; /* DOUBLED: the variant for privileged processes, which knows no upper limit */
} table[] = {
    {SOL_SOCKET, SO_REUSEADDR, PLAIN, 0},
    {SOL_SOCKET, SO_REUSEPORT, PLAIN, 0},
    {SOL_SOCKET, SO_BINDTOIFINDEX, PLAIN, 0},
    {SOL_SOCKET, SO_INCOMING_CPU, PLAIN, 0},
    {SOL_SOCKET, SO_KEEPALIVE, CARRIED, 0},
    {SOL_SOCKET, SO_LINGER, CARRIED, 0},
    {SOL_SOCKET, SO_OOBINLINE, PLAIN, 0},
    {SOL_SOCKET, SO_PRIORITY, PLAIN, 0},
    {SOL_SOCKET, SO_MARK, PLAIN, 0},
    {SOL_SOCKET, SO_BROADCAST, PLAIN, 0},
    {SOL_SOCKET, SO_DONTROUTE, PLAIN, 0},
    {SOL_SOCKET, SO_PASSCRED, PLAIN, 0},
    {SOL_SOCKET, SO_TIMESTAMP, PLAIN, 0},
    {SOL_SOCKET, SO_MAX_PACING_RATE, PLAIN, 0},
    {SOL_SOCKET, SO_RCVTIMEO, CARRIED, 0},
    {SOL_SOCKET, SO_SNDTIMEO, CARRIED, 0},
    {SOL_SOCKET, SO_RCVLOWAT, PLAIN, 0},
    {SOL_SOCKET, SO_RCVBUF, DOUBLED, SO_RCVBUFFORCE},
    {SOL_SOCKET, SO_SNDBUF, DOUBLED, SO_SNDBUFFORCE},
    {SOL_SOCKET, SO_BUF_LOCK, PLAIN, 0},
    {IPPROTO_TCP, TCP_NODELAY, CARRIED, 0},
    {IPPROTO_TCP, TCP_CORK, PLAIN, 0},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT, CARRIED, 0},
    {IPPROTO_TCP, TCP_FASTOPEN, CARRIED, 0},
    {IPPROTO_TCP, TCP_KEEPIDLE, CARRIED, 0},
    {IPPROTO_TCP, TCP_KEEPINTVL, CARRIED, 0},
    {IPPROTO_TCP, TCP_KEEPCNT, CARRIED, 0},
    {IPPROTO_TCP, TCP_SYNCNT, PLAIN, 0},
    {IPPROTO_TCP, TCP_LINGER2, PLAIN, 0},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, CARRIED, 0},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT, CARRIED, 0},
    {IPPROTO_TCP, TCP_SAVE_SYN, PLAIN, 0},
    {IPPROTO_TCP, TCP_CONGESTION, CARRIED, 0},
    {IPPROTO_TCP, TCP_MAXSEG, UNSET, 0},
    {IPPROTO_IP, IP_TOS, CARRIED, 0},
    {IPPROTO_IP, IP_TTL, PLAIN, 0},
    {IPPROTO_IP, IP_MINTTL, PLAIN, 0},
    {IPPROTO_IP, IP_RECVERR, PLAIN, 0},
    {IPPROTO_IPV6, IPV6_TCLASS, CARRIED, 0},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS, PLAIN, 0},
    {IPPROTO_IPV6, IPV6_MINHOPCOUNT, PLAIN, 0},
    {IPPROTO_IPV6, IPV6_RECVERR, PLAIN, 0},
    {IPPROTO_UDP, UDP_CORK, PLAIN, 0},
    {IPPROTO_UDP, UDP_SEGMENT, PLAIN, 0},
    {IPPROTO_UDP, UDP_GRO, PLAIN, 0},
};

_Static_assert(ARRAY_SIZE(table) <= SOCKOPTS_MAX, "SOCKOPTS_MAX is too small");

/* The length of what was read, 0 when the option does not exist here. */
static socklen_t read_option(int fd, const struct option *o, void *value, socklen_t size)
{
    return getsockopt(fd, o->level, o->name, value, &size) < 0 ? 0 : size;
}

static int write_number(int fd, const struct option *o, int number)
{
    if (o->force && setsockopt(fd, o->level, o->force, &number, sizeof(number)) == 0)
        return 0;
    return setsockopt(fd, o->level, o->name, &number, sizeof(number)) < 0 ? -errno : 0;
}

static int write_option(int fd, const struct option *o, const void *value, socklen_t len)
{
    int number = 0;

    if (o->how == PLAIN || o->how == CARRIED)
        return setsockopt(fd, o->level, o->name, value, len) < 0 ? -errno : 0;
    if (o->how == DOUBLED)
        memcpy(&number, value, sizeof(number));
    return write_number(fd, o, number / 2);
}

void sockopts_save(int fd, struct sockopts *out)
{
    *out = (struct sockopts){0};
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        out->options[i].len = (unsigned char)read_option(fd, &table[i], out->options[i].value,
                                                         sizeof(out->options[i].value));
}

int sockopts_restore(int fd, const struct sockopts *saved)
{
    int result = 0;

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        const unsigned char *want = saved->options[i].value;
        socklen_t len = saved->options[i].len;
        unsigned char now[sizeof(saved->options[i].value)] = {0};
        int r = 0;

        if (len > 0 &&
            (read_option(fd, &table[i], now, sizeof(now)) != len || memcmp(now, want, len) != 0))
            r = write_option(fd, &table[i], want, len);
        if (r < 0 && result == 0)
            result = r;
    }
    return result;
}

/* Sizes that nobody chose come from the system's settings and go on growing by themselves. A kernel
 * before 5.14 cannot tell. */
static bool was_chosen(int fd, int name)
{
    int locked = SOCK_SNDBUF_LOCK | SOCK_RCVBUF_LOCK;
    socklen_t len = sizeof(locked);

    getsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &locked, &len);
    return locked & (name == SO_SNDBUF ? SOCK_SNDBUF_LOCK : SOCK_RCVBUF_LOCK);
}

static void carry(int from, int to, const struct option *o)
{
    unsigned char want[SOCKOPTS_VALUE_MAX] = {0}, now[SOCKOPTS_VALUE_MAX] = {0};
    socklen_t len = read_option(from, o, want, sizeof(want));

    if (len > 0 && read_option(to, o, now, sizeof(now)) == len && memcmp(now, want, len) != 0 &&
        (o->how != DOUBLED || was_chosen(from, o->name)))
        write_option(to, o, want, len);
}

void sockopts_carry(int from, int to)
{
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        if (table[i].how == CARRIED || table[i].how == DOUBLED)
            carry(from, to, &table[i]);
}
