#include "mechanism/sockopts.h"

#include <netinet/tcp.h>
#include <netinet/udp.h>

#include "../lib/sockets.h"

enum { TCP4 = 1, TCP6 = 2, UDP4 = 4, UDP6 = 8, UNIX = 16, TCP = TCP4 | TCP6, UDP = UDP4 | UDP6 };
enum { ROOT = 32 }; /* to set it or to put it back */
enum { INET = TCP | UDP, V6 = TCP6 | UDP6, ALL = INET | UNIX };

static const struct {
    int kind;
    const char *address;
} kinds[] = {
    {TCP4, "127.0.0.1:0"}, {TCP6, "[::1]:0"}, {UDP4, "udp:127.0.0.1:0"},
    {UDP6, "udp:[::1]:0"}, {UNIX, "unix:@"},
};

#define NUMBER(n)   &(int){n}, sizeof(int)
#define SECONDS(n)  &(struct timeval){.tv_sec = (n)}, sizeof(struct timeval)
#define OPTION(...) __VA_ARGS__, #__VA_ARGS__

/* What a worker may do to its socket, and the kinds of sockets that it works on. */
static const struct {
    int kinds;
    const void *value;
    socklen_t len;
    int level, name;
    const char *text;
} damages[] = {
    {TCP, NUMBER(0), OPTION(SOL_SOCKET, SO_REUSEADDR)},
    {INET, NUMBER(0), OPTION(SOL_SOCKET, SO_REUSEPORT)},
    {INET | ROOT, NUMBER(1), OPTION(SOL_SOCKET, SO_BINDTOIFINDEX)},
    {INET, NUMBER(1), OPTION(SOL_SOCKET, SO_INCOMING_CPU)},
    {ALL, NUMBER(1), OPTION(SOL_SOCKET, SO_KEEPALIVE)},
    {ALL, &(struct linger){1, 0}, sizeof(struct linger), OPTION(SOL_SOCKET, SO_LINGER)},
    {ALL, NUMBER(1), OPTION(SOL_SOCKET, SO_OOBINLINE)},
    {ALL, NUMBER(3), OPTION(SOL_SOCKET, SO_PRIORITY)},
    {ALL | ROOT, NUMBER(7), OPTION(SOL_SOCKET, SO_MARK)},
    {ALL, NUMBER(1), OPTION(SOL_SOCKET, SO_BROADCAST)},
    {ALL, NUMBER(1), OPTION(SOL_SOCKET, SO_DONTROUTE)},
    {UNIX, NUMBER(1), OPTION(SOL_SOCKET, SO_PASSCRED)},
    {ALL, NUMBER(1), OPTION(SOL_SOCKET, SO_TIMESTAMP)},
    {INET, NUMBER(5000), OPTION(SOL_SOCKET, SO_MAX_PACING_RATE)},
    {ALL, SECONDS(1), OPTION(SOL_SOCKET, SO_RCVTIMEO)},
    {ALL, SECONDS(2), OPTION(SOL_SOCKET, SO_SNDTIMEO)},
    {INET, NUMBER(1 << 20), OPTION(SOL_SOCKET, SO_RCVLOWAT)},
    {ALL, NUMBER(5000), OPTION(SOL_SOCKET, SO_RCVBUF)},
    {ALL, NUMBER(1 << 17), OPTION(SOL_SOCKET, SO_SNDBUF)},
    {ALL, NUMBER(3), OPTION(SOL_SOCKET, SO_BUF_LOCK)},
    {TCP, NUMBER(1), OPTION(IPPROTO_TCP, TCP_NODELAY)},
    {TCP, NUMBER(1), OPTION(IPPROTO_TCP, TCP_CORK)},
    {TCP, NUMBER(3), OPTION(IPPROTO_TCP, TCP_DEFER_ACCEPT)},
    {TCP, NUMBER(5), OPTION(IPPROTO_TCP, TCP_FASTOPEN)},
    {TCP, NUMBER(9), OPTION(IPPROTO_TCP, TCP_KEEPIDLE)},
    {TCP, NUMBER(9), OPTION(IPPROTO_TCP, TCP_KEEPINTVL)},
    {TCP, NUMBER(2), OPTION(IPPROTO_TCP, TCP_KEEPCNT)},
    {TCP, NUMBER(2), OPTION(IPPROTO_TCP, TCP_SYNCNT)},
    {TCP, NUMBER(5), OPTION(IPPROTO_TCP, TCP_LINGER2)},
    {TCP, NUMBER(1), OPTION(IPPROTO_TCP, TCP_USER_TIMEOUT)},
    {TCP, NUMBER(1), OPTION(IPPROTO_TCP, TCP_NOTSENT_LOWAT)},
    {TCP, NUMBER(1), OPTION(IPPROTO_TCP, TCP_SAVE_SYN)},
    {TCP, "reno", 4, OPTION(IPPROTO_TCP, TCP_CONGESTION)},
    {TCP, NUMBER(600), OPTION(IPPROTO_TCP, TCP_MAXSEG)},
    {INET, NUMBER(16), OPTION(IPPROTO_IP, IP_TOS)},
    {INET, NUMBER(1), OPTION(IPPROTO_IP, IP_TTL)},
    {INET, NUMBER(255), OPTION(IPPROTO_IP, IP_MINTTL)},
    {INET, NUMBER(1), OPTION(IPPROTO_IP, IP_RECVERR)},
    {V6, NUMBER(16), OPTION(IPPROTO_IPV6, IPV6_TCLASS)},
    {V6, NUMBER(1), OPTION(IPPROTO_IPV6, IPV6_UNICAST_HOPS)},
    {V6, NUMBER(255), OPTION(IPPROTO_IPV6, IPV6_MINHOPCOUNT)},
    {V6, NUMBER(1), OPTION(IPPROTO_IPV6, IPV6_RECVERR)},
    {UDP, NUMBER(1), OPTION(IPPROTO_UDP, UDP_CORK)},
    {UDP, NUMBER(100), OPTION(IPPROTO_UDP, UDP_SEGMENT)},
    {UDP, NUMBER(1), OPTION(IPPROTO_UDP, UDP_GRO)},
};

struct reading {
    unsigned char value[64];
    socklen_t len;
};

static struct reading read_damage(int fd, size_t i)
{
    struct reading r = {.len = sizeof(r.value)};

    cr_assert_eq(getsockopt(fd, damages[i].level, damages[i].name, r.value, &r.len), 0, "%s: %s",
                 damages[i].text, strerror(errno));
    return r;
}

static bool same(const struct reading *a, const struct reading *b)
{
    return a->len == b->len && memcmp(a->value, b->value, a->len) == 0;
}

static int listener_of_kind(size_t k)
{
    struct sockspec spec = {.kind = SOCKSPEC_UNIX};
    int fd, one = 1;

    if (kinds[k].kind == UNIX) /* the tests run side by side: each has a name of its own */
        snprintf(spec.path, sizeof(spec.path), "@sockopts-%d", (int)getpid());
    else
        spec = spec_for(kinds[k].address, 0);
    fd = plain_listener(&spec, kinds[k].kind != UNIX);
    cr_assert_geq(fd, 0);
    if (kinds[k].kind & TCP)
        cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
    return fd;
}

static void damage(int fd, size_t i)
{
    struct reading before = read_damage(fd, i), after;

    cr_assert_eq(
        setsockopt(fd, damages[i].level, damages[i].name, damages[i].value, damages[i].len), 0,
        "%s: %s", damages[i].text, strerror(errno));
    after = read_damage(fd, i);
    cr_assert_not(same(&before, &after), "%s does no damage", damages[i].text);
}

static bool applies(size_t i, size_t k)
{
    bool forbidden = (damages[i].kinds & ROOT) && geteuid() != 0;

    return !forbidden && (damages[i].kinds & kinds[k].kind);
}

/* One at a time, through a duplicate as a worker has it. */
Test(sockopts, undo_each_damage)
{
    for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
        for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
            CLEANUP_CLOSE int fd = applies(i, k) ? listener_of_kind(k) : -1;
            CLEANUP_CLOSE int workers = dup(fd);
            struct reading before, after;
            struct sockopts saved;

            if (fd < 0)
                continue;
            sockopts_save(fd, &saved);
            before = read_damage(fd, i);
            damage(workers, i);
            cr_assert_eq(sockopts_restore(fd, &saved), 0, "%s on %s", damages[i].text,
                         kinds[k].address);
            after = read_damage(fd, i);
            cr_assert(same(&before, &after), "%s on %s", damages[i].text, kinds[k].address);
        }
}

Test(sockopts, undo_all_damages_at_once)
{
    for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
        CLEANUP_CLOSE int fd = listener_of_kind(k);
        struct reading before[ARRAY_SIZE(damages)];
        struct sockopts saved, again;

        sockopts_save(fd, &saved);
        for (size_t i = 0; i < ARRAY_SIZE(damages); i++)
            if (applies(i, k))
                before[i] = read_damage(fd, i);
        for (size_t i = 0; i < ARRAY_SIZE(damages); i++)
            if (applies(i, k) && damages[i].name != SO_BUF_LOCK)
                damage(fd, i);
        cr_assert_eq(sockopts_restore(fd, &saved), 0, "%s", kinds[k].address);
        for (size_t i = 0; i < ARRAY_SIZE(damages); i++)
            if (applies(i, k)) {
                struct reading after = read_damage(fd, i);

                cr_assert(same(&before[i], &after), "%s on %s", damages[i].text, kinds[k].address);
            }
        sockopts_save(fd, &again);
        cr_assert_eq(memcmp(&saved, &again, sizeof(saved)), 0);
    }
}

/* Values that are not the kernel's defaults, as an inherited socket has them, come back as well. */
Test(sockopts, restore_what_was_not_default)
{
    struct sockspec spec = spec_for("127.0.0.1:0", 0);
    CLEANUP_CLOSE int fd = plain_listener(&spec, false);
    int want = 30000, other = 60000, now = 0;
    socklen_t len = sizeof(now);
    struct sockopts saved;

    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &want, sizeof(want)), 0);
    sockopts_save(fd, &saved);
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &other, sizeof(other)), 0);
    cr_assert_eq(sockopts_restore(fd, &saved), 0);
    cr_assert_eq(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &now, &len), 0);
    cr_assert_eq(now, 2 * want);
}

/* What cannot be put back does not keep the rest from being put back. */
Test(sockopts, go_on_after_a_failure)
{
    struct sockspec spec = spec_for("127.0.0.1:0", 0);
    CLEANUP_CLOSE int tcp = plain_listener(&spec, false);
    CLEANUP_CLOSE int local = -1;
    int one = 1, now = -1;
    socklen_t len = sizeof(now);
    struct sockopts saved;

    local = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(setsockopt(tcp, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one)), 0);
    cr_assert_eq(setsockopt(tcp, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)), 0);
    sockopts_save(tcp, &saved);
    cr_assert_lt(sockopts_restore(local, &saved), 0);
    cr_assert_eq(getsockopt(local, SOL_SOCKET, SO_KEEPALIVE, &now, &len), 0);
    cr_assert_eq(now, 1);
}
