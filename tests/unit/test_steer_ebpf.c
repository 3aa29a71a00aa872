/* What only the eBPF program can do, and moving what waits, with it or without. */
#include "mechanism/steer_ebpf.h"

#include <net/if.h>
#include <sched.h>

#include "../lib/steering.h"

TestSuite(steer_ebpf, .init = listener_setup, .fini = listener_teardown);

/* ---- in turn ---- */

static void expect_turns(struct listener *l, const char *to, unsigned mask)
{
    int hits[MANY_SLOTS] = {0}, rounds = 25;

    set_live(l, mask);
    cr_assert_eq(steer_by(l, BALANCE_ROUND_ROBIN), 0);
    knock(l, to, rounds * __builtin_popcount(mask), hits);
    for (int slot = 0; slot < SLOTS; slot++)
        cr_expect_eq(hits[slot], mask >> slot & 1 ? rounds : 0, "%s, mask %#x: %d in slot %d", to,
                     mask, hits[slot], slot);
}

Test(steer_ebpf, goes_round_in_turn)
{
    need_ebpf();
    for (size_t k = 0; k < ARRAY_SIZE(addresses); k++) {
        struct listener *l = open_text(addresses[k].listen, SLOTS, &per_worker);

        for (unsigned mask = 1; mask < 1u << SLOTS; mask++)
            expect_turns(l, addresses[k].to, mask);
        listener_unref(l);
    }
}

Test(steer_ebpf, goes_by_chance_where_it_cannot_count)
{
    struct listener *l;
    int hits[MANY_SLOTS] = {0};

    without_ebpf();
    l = open_text("127.0.0.1:0", SLOTS, &per_worker);
    set_live(l, 7);
    cr_assert_eq(steer_by(l, BALANCE_ROUND_ROBIN), 0);
    knock(l, "127.0.0.1:0", CLIENTS, hits);
    for (int slot = 0; slot < 3; slot++)
        cr_expect(hits[slot] > 30 && hits[slot] < 110, "%d in slot %d", hits[slot], slot);
    cr_expect_eq(hits[3], 0);
    listener_unref(l);
}

/* The kernel forgets a socket that was shut down, and one that is back by a worker's own doing is
 * only found with the next change of its slot. Until then connections are not lost. */
Test(steer_ebpf, finds_a_socket_that_left_its_map)
{
    struct listener *l = open_text("127.0.0.1:0", SLOTS, &per_worker);
    int hits[MANY_SLOTS] = {0};

    need_ebpf();
    steer(l, 15);
    shut_down(l, 1);
    cr_assert_eq(listen(listener_fd(l, 1), BACKLOG), 0);
    knock(l, "127.0.0.1:0", CLIENTS, hits);
    cr_assert_eq(listener_restore_backlog(l, 1), 0);
    expect_order_is_known(l, "127.0.0.1:0");
    listener_unref(l);
}

/* Of another master, of which only the sockets are left: its program goes when ours comes, and its
 * maps a moment later. */
Test(steer_ebpf, takes_over_from_a_dead_master)
{
    struct listener *l;
    struct steer theirs;
    struct steer_plan turns = {.balance = BALANCE_ROUND_ROBIN};
    int even = 0;

    need_ebpf();
    l = open_text("127.0.0.1:0", SLOTS, &per_worker);
    steer_init(&theirs, false);
    listener_release(l);
    for (int slot = 0; slot < SLOTS; slot++) {
        cr_assert_eq(steer_join(&theirs, listener_fd(l, slot)), 0);
        steer_set(&theirs, listener_fd(l, slot), slot, true);
    }
    cr_assert_eq(steer_choose(&theirs, &turns), 0);
    cr_assert_eq(theirs.by, STEER_BY_EBPF);
    steer_free(&theirs);
    set_live(l, 6);
    for (int i = 0; even < 8; i++) { /* so often by chance once in two million times */
        int hits[MANY_SLOTS] = {0};

        cr_assert_eq(listener_steer(l, &turns), 0);
        knock(l, "127.0.0.1:0", FEW, hits);
        cr_assert_eq(hits[0] + hits[3], 0); /* exact from the beginning */
        even = hits[1] == hits[2] ? even + 1 : 0;
        cr_assert_lt(i, 1000, "it never goes round in turn");
        usleep(1000);
    }
    listener_unref(l);
}

Test(steer_ebpf, released_and_taken_again)
{
    struct listener *l;

    need_ebpf();
    l = open_text("127.0.0.1:0", SLOTS, &per_worker);
    steer(l, 5);
    listener_release(l);
    expect_only(l, "127.0.0.1:0", 5, CLIENTS);
    expect_turns(l, "127.0.0.1:0", 5);
    listener_unref(l);
}

/* ---- rescue ---- */

/* Fills the queue of slot 1, and tells the clients. */
static void fill_queue(struct listener *l, int *clients, int n)
{
    struct sockspec to = spec_for("127.0.0.1:0", 0);

    steer(l, 2);
    for (int i = 0; i < n; i++) {
        clients[i] = connect_to(&to, listener_port(l));
        cr_assert_geq(clients[i], 0);
        cr_assert_eq(send(clients[i], "x", 1, 0), 1);
    }
    cr_assert_eq(listener_queue(l, 1), n);
}

/* How many of the clients are served by a slot. */
static int serve(const struct listener *l, int slot)
{
    int n = 0;

    for (; listener_queue(l, slot) > 0; n++) {
        CLEANUP_CLOSE int fd = accept4(listener_fd(l, slot), NULL, NULL, SOCK_CLOEXEC);
        char byte;

        cr_assert_eq(recv(fd, &byte, 1, 0), 1);
        cr_assert_eq(send(fd, "y", 1, 0), 1);
    }
    return n;
}

enum { QUEUED = 60 };

Test(steer_ebpf, rescues_what_waits)
{
    struct listener *l = open_text("127.0.0.1:0", SLOTS, &per_worker);
    int clients[QUEUED], served[SLOTS];
    char byte;

    need_ebpf();
    fill_queue(l, clients, QUEUED);
    steer(l, 0xc); /* slot 0 is not live either: it gets none */
    cr_assert_eq(listener_rescue(l, 1), QUEUED);
    for (int slot = 0; slot < SLOTS; slot++)
        served[slot] = serve(l, slot);
    cr_expect_eq(served[0] + served[1], 0);
    cr_expect_eq(served[2] + served[3], QUEUED);
    cr_expect(served[2] > 0 && served[3] > 0);
    for (int i = 0; i < QUEUED; i++)
        cr_assert_eq(recv(clients[i], &byte, 1, 0), 1, "client %d: %s", i, strerror(errno));
    expect_order_is_known(l, "127.0.0.1:0");
    for (int i = 0; i < QUEUED; i++)
        close(clients[i]);
    listener_unref(l);
}

/* A worker that shuts its socket down, as many do on TERM. */
Test(steer_ebpf, what_a_worker_shuts_down_moves)
{
    struct listener *l = open_text("127.0.0.1:0", SLOTS, &per_worker);
    int clients[QUEUED], sum = 0;
    char byte;

    need_ebpf();
    fill_queue(l, clients, QUEUED);
    steer(l, 0xf);
    shut_down(l, 1);
    for (int slot = 0; slot < SLOTS; slot++)
        sum += serve(l, slot);
    cr_expect_eq(sum, QUEUED);
    for (int i = 0; i < QUEUED; i++) {
        cr_assert_eq(recv(clients[i], &byte, 1, 0), 1, "client %d: %s", i, strerror(errno));
        close(clients[i]);
    }
    listener_unref(l);
}

Test(steer_ebpf, rescues_only_to_others_that_serve)
{
    struct listener *l = open_text("127.0.0.1:0", SLOTS, &per_worker);
    int clients[QUEUED];

    need_ebpf();
    fill_queue(l, clients, QUEUED);
    cr_expect_eq(listener_rescue(l, 1), 0);
    cr_expect_eq(listener_queue(l, 1), QUEUED);
    cr_expect_eq(listener_rescue(l, 2), 0);
    cr_expect_eq(listener_rescue(l, SLOTS), -EINVAL);
    for (int i = 0; i < QUEUED; i++)
        close(clients[i]);
    listener_unref(l);
}

static int rescue_of(const char *text, const struct listener_options *options)
{
    struct listener *l = open_text(text, SLOTS, options);
    int r;

    steer(l, 1);
    r = listener_rescue(l, 1);
    listener_unref(l);
    return r;
}

Test(steer_ebpf, tells_what_cannot_be_rescued)
{
    struct listener *l = open_spec(unix_spec(), 2, &per_worker);

    cr_expect_eq(listener_rescue(l, 0), -EOPNOTSUPP);
    listener_unref(l);
    cr_expect_eq(rescue_of("udp:127.0.0.1:0", &per_worker), -EOPNOTSUPP);
    cr_expect_eq(rescue_of("127.0.0.1:0", &shared), -EOPNOTSUPP);
    without_ebpf();
    if (sys_sysctl("/proc/sys/net/ipv4/tcp_migrate_req", 0) == 0)
        cr_expect_eq(rescue_of("127.0.0.1:0", &per_worker), -EOPNOTSUPP);
}

/* A new network namespace, whose loopback is up. */
static bool enter_network(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    CLEANUP_CLOSE int fd = -1;

    if (unshare(CLONE_NEWNET) < 0)
        return false;
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return ioctl(fd, SIOCSIFFLAGS, &lo) == 0;
}

static bool turn_on(const char *sysctl)
{
    CLEANUP_CLOSE int fd = open(sysctl, O_WRONLY | O_CLOEXEC);

    return write(fd, "1", 1) == 1;
}

/* By the sysctl alone: in a network namespace of its own, which is given up with the process. */
static int rescue_by_sysctl(void *data UNUSED)
{
    struct listener *l;
    int clients[QUEUED], sum = 0;

    if (!enter_network() || !turn_on("/proc/sys/net/ipv4/tcp_migrate_req"))
        return FORBIDDEN;
    without_ebpf();
    l = open_text("127.0.0.1:0", SLOTS, &per_worker);
    fill_queue(l, clients, QUEUED);
    steer(l, 0xd);
    if (listener_rescue(l, 1) != QUEUED)
        return 3;
    for (int slot = 0; slot < SLOTS; slot++)
        sum += serve(l, slot);
    listener_unref(l);
    return sum == QUEUED ? 0 : 4;
}

Test(steer_ebpf, rescues_by_the_sysctl)
{
    expect_play(rescue_by_sysctl, NULL);
}
