/* Steering as the kernel does it: connections are made, and the slots where they arrive counted. */
#include "mechanism/steer.h"

#include <sched.h>
#include <time.h>

#include "mechanism/probe.h"

#include "../lib/steering.h"

TestSuite(steer, .init = listener_setup, .fini = listener_teardown);

/* By both kinds of programs. */
#define BOTH(name)                                                                                 \
    static void name(void);                                                                        \
    Test(steer, name##_with_ebpf)                                                                  \
    {                                                                                              \
        need_ebpf();                                                                               \
        name();                                                                                    \
    }                                                                                              \
    Test(steer, name)                                                                              \
    {                                                                                              \
        without_ebpf();                                                                            \
        name();                                                                                    \
    }                                                                                              \
    static void name(void)

/* ---- who gets connections ---- */

BOTH(only_live_slots_get_connections)
{
    for (size_t k = 0; k < ARRAY_SIZE(addresses); k++) {
        struct listener *l = open_text(addresses[k].listen, SLOTS, &per_worker);

        for (unsigned mask = 1; mask < 1u << SLOTS; mask++) {
            int hits[MANY_SLOTS] = {0};

            steer(l, mask);
            knock(l, addresses[k].to, CLIENTS, hits);
            for (int slot = 0; slot < SLOTS; slot++)
                cr_expect_eq(hits[slot] > 0, mask >> slot & 1, "%s, mask %#x: %d in slot %d",
                             addresses[k].to, mask, hits[slot], slot);
        }
        listener_unref(l);
    }
}

static void expect_all(struct listener *l)
{
    int hits[MANY_SLOTS] = {0};

    knock(l, "127.0.0.1:0", CLIENTS, hits);
    for (int slot = 0; slot < SLOTS; slot++)
        cr_expect_gt(hits[slot], 0, "slot %d", slot);
}

BOTH(all_get_connections_when_none_is_live)
{
    struct listener *l = open_text("127.0.0.1:0", SLOTS, &per_worker);

    expect_all(l);
    steer(l, 0);
    expect_all(l);
    steer(l, 2);
    steer(l, 0);
    expect_all(l);
    listener_unref(l);
}

BOTH(modes_spread_over_live_slots)
{
    for (enum balance_mode b = BALANCE_HASH; b <= BALANCE_RANDOM; b++) {
        struct listener *l = open_text("127.0.0.1:0", SLOTS, &per_worker);
        int hits[MANY_SLOTS] = {0};

        set_live(l, 7);
        cr_assert_eq(steer_by(l, b), 0);
        knock(l, "127.0.0.1:0", CLIENTS, hits);
        /* 200 over 3: a fair choice stays within these with all but 1e-7 */
        for (int slot = 0; slot < 3; slot++)
            cr_expect(hits[slot] > 30 && hits[slot] < 110, "%d: %d in slot %d", b, hits[slot],
                      slot);
        cr_expect_eq(hits[3], 0);
        listener_unref(l);
    }
}

/* The only CPU of this process receives on the loopback what it sends. */
BOTH(cpu_chooses_the_slot)
{
    struct listener *l = open_text("127.0.0.1:0", SLOTS, &per_worker);
    int cpu = sched_getcpu();
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    cr_assert_eq(sched_setaffinity(0, sizeof(set), &set), 0);
    set_live(l, 15);
    cr_assert_eq(steer_by(l, BALANCE_CPU), 0);
    expect_only(l, "127.0.0.1:0", 1u << cpu % SLOTS, CLIENTS);
    set_live(l, 15 & ~(1u << cpu % SLOTS));
    cr_assert_eq(steer_by(l, BALANCE_CPU), 0);
    expect_only(l, "127.0.0.1:0", 15 & ~(1u << cpu % SLOTS), CLIENTS);
    listener_unref(l);
}

Test(steer, leaves_shared_sockets_alone)
{
    struct listener *l = open_text("127.0.0.1:0", SLOTS, &shared);

    steer(l, 2);
    cr_assert(serves(l, "127.0.0.1:0"));
    listener_unref(l);
}

/* ---- probes ---- */

/* Connects as the probe of a slot, and returns where that arrived. */
static int probe(const struct listener *l, const char *address, int slot)
{
    struct sockspec bound = spec_for(address, listener_port(l)), to;
    int hits[MANY_SLOTS] = {0};
    CLEANUP_CLOSE int fd = -1;

    cr_assert(probe_target(&bound, &to));
    fd = probe_connect(&to, slot);
    cr_assert_geq(fd, 0, "%s", strerror(-fd));
    cr_assert_eq(poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 10000), 1);
    cr_assert_eq(arrivals(l, hits), 1);
    for (int i = 0; i < MANY_SLOTS; i++)
        if (hits[i])
            return i;
    return -1;
}

BOTH(probes_reach_their_slot)
{
    static const unsigned masks[] = {0, 1, 0x28, 0x7f, 0xff};
    int arrived = 0;

    for (size_t k = 0; k < 4; k++) {
        struct listener *l = open_text(addresses[k].listen, MANY_SLOTS, &per_worker);

        for (int i = 0; i < 800; i++) {
            struct steer_plan plan = {.balance = (enum balance_mode)(i / 20 % 4), .probes = true};

            set_live(l, masks[i % ARRAY_SIZE(masks)]);
            cr_assert_eq(listener_steer(l, &plan), 0);
            arrived += probe(l, addresses[k].to, i % MANY_SLOTS) == i % MANY_SLOTS;
        }
        cr_expect_eq(arrived, 800, "%s by way of %s", addresses[k].listen, addresses[k].to);
        arrived = 0;
        expect_order_is_known(l, addresses[k].to);
        listener_unref(l);
    }
}

/* The order of the group is not that of the slots any more. */
BOTH(probes_find_sockets_that_moved)
{
    struct listener *l = open_text("*:0", MANY_SLOTS, &per_worker);
    struct steer_plan plan = {.balance = BALANCE_RANDOM, .probes = true};

    for (int slot = 0; slot < MANY_SLOTS; slot += 3) {
        shut_down(l, slot);
        cr_assert_eq(listener_restore(l, slot), 0);
    }
    set_live(l, 0x5a);
    cr_assert_eq(listener_steer(l, &plan), 0);
    for (int slot = 0; slot < MANY_SLOTS; slot++) {
        cr_expect_eq(probe(l, "127.0.0.1:0", slot), slot);
        expect_only(l, "127.0.0.1:0", 0x5a, FEW);
    }
    listener_unref(l);
}

/* What is not a probe, or of a slot that is not there, goes where everything goes. */
BOTH(others_are_no_probes)
{
    struct listener *l = open_text("127.0.0.1:0", 2, &per_worker);
    struct steer_plan plan = {.probes = true};

    set_live(l, 2);
    for (int probes = 0; probes < 2; probes++) {
        plan.probes = probes;
        cr_assert_eq(listener_steer(l, &plan), 0);
        for (int slot = 0; slot < 2; slot++)
            cr_expect_eq(probe(l, "127.0.0.1:0", slot), probes ? slot : 1);
        expect_only(l, "127.0.0.1:0", 2, FEW);
    }
    listener_unref(l);
}

/* ---- the order of the group ---- */

BOTH(knows_the_order_after_growing_and_shrinking)
{
    for (size_t k = 0; k < ARRAY_SIZE(addresses); k++) {
        struct listener *l = open_text(addresses[k].listen, 2, &per_worker);

        cr_assert_eq(listener_grow(l, 5, &why), 0);
        expect_order_is_known(l, addresses[k].to);
        listener_shrink(l, 3);
        expect_order_is_known(l, addresses[k].to);
        cr_assert_eq(listener_grow(l, MANY_SLOTS, &why), 0);
        expect_order_is_known(l, addresses[k].to);
        listener_unref(l);
    }
}

BOTH(knows_the_order_after_healing)
{
    for (size_t k = 0; k < 4; k++) {
        struct listener *l = open_text(addresses[k].listen, 5, &per_worker);

        shut_down(l, 1);
        cr_assert_eq(listener_restore(l, 1), 0);
        expect_order_is_known(l, addresses[k].to);
        shut_down(l, 4);
        steer(l, 1);
        cr_assert_eq(listener_restore(l, 4), 0);
        expect_order_is_known(l, addresses[k].to);
        listener_shrink(l, 3); /* of an order that is not that of the slots any more */
        expect_order_is_known(l, addresses[k].to);
        listener_unref(l);
    }
}

/* The last took the place of the one that left: steering must not go on by the old numbers. */
BOTH(steers_around_a_socket_that_is_shut_down)
{
    struct listener *l = open_text("127.0.0.1:0", 4, &per_worker);

    steer(l, 0xd);
    shut_down(l, 1);
    steer(l, 0x9);
    expect_only(l, "127.0.0.1:0", 0x9, CLIENTS);
    steer(l, 0x8);
    expect_only(l, "127.0.0.1:0", 0x8, CLIENTS);
    cr_assert_eq(listener_restore(l, 1), 0);
    expect_order_is_known(l, "127.0.0.1:0");
    listener_unref(l);
}

/* Which of two went first cannot be seen; of neighbours at the end it makes no difference. */
BOTH(two_that_left_at_once)
{
    struct listener *l = open_text("127.0.0.1:0", 4, &per_worker);

    shut_down(l, 1);
    shut_down(l, 2);
    steer(l, 8);
    expect_only(l, "127.0.0.1:0", 8, CLIENTS);
    cr_assert_eq(listener_restore(l, 2), 0);
    cr_assert_eq(listener_restore(l, 1), 0);
    expect_order_is_known(l, "127.0.0.1:0");
    listener_unref(l);
}

/* A worker that brings its socket back by itself: seen with the next change, if there is a look in
 * between. */
BOTH(finds_a_socket_that_came_back)
{
    struct listener *l = open_text("127.0.0.1:0", 4, &per_worker);

    shut_down(l, 1);
    steer(l, 5);
    cr_assert_eq(listen(listener_fd(l, 1), BACKLOG), 0);
    expect_order_is_known(l, "127.0.0.1:0");
    listener_unref(l);
}

BOTH(knows_the_order_after_making_a_socket_anew)
{
    struct listener *l = open_text("udp:127.0.0.1:0", 4, &per_worker);

    shut_down(l, 1); /* UDP sockets stay shut down */
    if (listener_restore(l, 1) == 1)
        expect_order_is_known(l, "udp:127.0.0.1:0");
    listener_unref(l);
}

BOTH(knows_the_order_after_a_udp_socket_was_connected)
{
    static const char *const texts[][2] = {{"udp:127.0.0.1:0", "udp:127.0.0.1:0"},
                                           {"udp:0.0.0.0:0", "udp:127.0.0.1:0"},
                                           {"udp:*:0", "udp:[::1]:0"}};

    for (size_t k = 0; k < ARRAY_SIZE(texts); k++) {
        struct listener *l = open_text(texts[k][0], 4, &per_worker);
        struct sockspec peer = spec_for(texts[k][1], 9);
        struct sockaddr_storage a;
        socklen_t len = sockspec_sockaddr(&peer, 9, &a);

        cr_assert_eq(connect(listener_fd(l, 1), (struct sockaddr *)&a, len), 0);
        steer(l, 5);
        cr_assert_geq(listener_restore(l, 1), 0);
        expect_order_is_known(l, texts[k][1]);
        listener_unref(l);
    }
}

/* Everything in any order, by chance but the same each time. */
BOTH(knows_the_order_after_anything)
{
    struct listener *l = open_text("127.0.0.1:0", MANY_SLOTS, &per_worker);
    int n = MANY_SLOTS;

    srand(1);
    for (int round = 0; round < 40; round++) {
        int slot = rand() % n;

        steer(l, (unsigned)rand() & 0xff);
        switch (rand() % 4) {
        case 0: listener_shrink(l, n = 2 + rand() % 6); break;
        case 1: cr_assert_eq(listener_grow(l, n = MANY_SLOTS, &why), 0); break;
        default:
            shut_down(l, slot);
            cr_assert_eq(listener_restore(l, slot), 0);
            break;
        }
        n = 0;
        while (listener_fd(l, n) >= 0)
            n++;
        if (round % 4 == 3)
            expect_order_is_known(l, "127.0.0.1:0");
    }
    listener_unref(l);
}

/* ---- moments of change ---- */

/* New sockets get nothing before they are live, also when all others are. */
BOTH(new_sockets_get_nothing)
{
    struct listener *l = open_text("127.0.0.1:0", 2, &per_worker);

    steer(l, 3);
    cr_assert_eq(listener_grow(l, 5, &why), 0);
    expect_only(l, "127.0.0.1:0", 3, CLIENTS);
    steer(l, 0x1f);
    expect_all(l);
    listener_unref(l);
}

BOTH(shrinking_keeps_the_rest_steered)
{
    struct listener *l = open_text("127.0.0.1:0", 5, &per_worker);

    shut_down(l, 1); /* now 0 4 2 3 1 */
    cr_assert_eq(listener_restore(l, 1), 0);
    steer(l, 0x6);
    listener_shrink(l, 3); /* now 0 1 2 */
    expect_only(l, "127.0.0.1:0", 0x6, CLIENTS);
    listener_unref(l);
}

static const struct timespec moment = {.tv_nsec = 200000};

/* A client that connects all the time, until the other end of `ends` is closed. Status 1: it was
 * reset, in the queue of a socket that was closed. It also holds all sockets, as the child does
 * that is about to become a worker. */
static pid_t start_client(const struct listener *l, const int *ends)
{
    struct pollfd p = {.fd = ends[0], .events = POLLIN};
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(ends[1]);
    while (poll(&p, 1, 0) == 0) {
        CLEANUP_CLOSE int fd = connect_to(listener_spec(l), listener_port(l));
        char byte;

        if (fd < 0 || read(fd, &byte, 1) != 0)
            _exit(1);
    }
    _exit(0);
}

static void serve_for(const struct listener *l, unsigned mask, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        for (int slot = 0; listener_fd(l, slot) >= 0; slot++)
            if (mask >> slot & 1)
                take_all(l, slot);
        nanosleep(&moment, NULL);
    }
}

BOTH(nothing_is_lost_while_sockets_come_and_go)
{
    struct listener *l = open_text("127.0.0.1:0", MANY_SLOTS, &per_worker);
    int ends[2], status = -1;
    pid_t client;

    steer(l, 3);
    shut_down(l, 0); /* the live ones are spread over the group */
    cr_assert_eq(listener_restore(l, 0), 0);
    steer(l, 3);
    cr_assert_eq(pipe(ends), 0);
    client = start_client(l, ends);
    for (int i = 0; i < 100; i++) {
        serve_for(l, 3, 3);
        if (i % 2)
            cr_assert_eq(listener_grow(l, MANY_SLOTS, &why), 0);
        else
            listener_shrink(l, 2);
    }
    close(ends[1]);
    for (int i = 0; i < 5000 && waitpid(client, &status, WNOHANG) == 0; i++)
        serve_for(l, 3, 1);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", (unsigned)status);
    listener_unref(l);
}

/* ---- what workers do to the program ---- */

static void attach_own(int fd, uint32_t index)
{
    struct sock_filter all_to = BPF_STMT(BPF_RET | BPF_K, index);
    struct sock_fprog program = {.len = 1, .filter = &all_to};

    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)),
                 0);
}

BOTH(undoes_a_program_with_the_next_change)
{
    struct listener *l = open_text("127.0.0.1:0", 4, &per_worker);

    steer(l, 7);
    attach_own(listener_fd(l, 3), 3);
    expect_only(l, "127.0.0.1:0", 8, FEW);
    steer(l, 6);
    expect_only(l, "127.0.0.1:0", 6, CLIENTS);
    attach_own(listener_fd(l, 3), 3);
    steer(l, 15);
    expect_all(l);
    listener_unref(l);
}

BOTH(undoes_a_program_with_the_next_start)
{
    struct listener *l = open_text("127.0.0.1:0", 4, &per_worker);

    steer(l, 7);
    set_number(listener_fd(l, 3), SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0);
    cr_assert_eq(listener_restore(l, 3), 0);
    expect_only(l, "127.0.0.1:0", 7, CLIENTS);
    attach_own(listener_fd(l, 3), 3);
    cr_assert_eq(listener_restore(l, 3), 0);
    expect_only(l, "127.0.0.1:0", 7, CLIENTS);
    listener_unref(l);
}

/* After SO_LOCK_FILTER nobody attaches through that socket any more, root neither. */
BOTH(goes_around_a_locked_socket)
{
    struct listener *l = open_text("127.0.0.1:0", 4, &per_worker);

    set_number(listener_fd(l, 0), SOL_SOCKET, SO_LOCK_FILTER, 1);
    steer(l, 10);
    expect_only(l, "127.0.0.1:0", 10, CLIENTS);
    listener_unref(l);
}

/* Told once, not at each attempt. */
Test(steer, tells_that_it_cannot_once)
{
    struct listener *l = open_text("127.0.0.1:0", 2, &per_worker);

    for (int slot = 0; slot < 2; slot++)
        set_number(listener_fd(l, slot), SOL_SOCKET, SO_LOCK_FILTER, 1);
    set_live(l, 1);
    cr_expect_eq(steer_by(l, BALANCE_HASH), -EPERM);
    set_live(l, 2);
    cr_expect_eq(steer_by(l, BALANCE_HASH), 0);
    set_live(l, 3);
    cr_expect_eq(steer_by(l, BALANCE_HASH), 0);
    set_live(l, 1);
    cr_expect_eq(steer_by(l, BALANCE_HASH), -EPERM);
    listener_unref(l);
}

static int steer_as_nobody(void *data UNUSED)
{
    struct listener *l;

    if (!become_nobody())
        return FORBIDDEN;
    l = open_text("127.0.0.1:0", 4, &per_worker);
    steer(l, 6);
    expect_only(l, "127.0.0.1:0", 6, CLIENTS);
    listener_unref(l);
    return 0;
}

Test(steer, needs_no_privilege)
{
    expect_play(steer_as_nobody, NULL);
}

/* ---- queues ---- */

BOTH(counts_what_waits)
{
    static const char *const texts[] = {"127.0.0.1:0", "*:0", "udp:127.0.0.1:0"};

    for (size_t k = 0; k < ARRAY_SIZE(texts); k++) {
        struct listener *l = open_text(texts[k], 3, &per_worker);
        struct sockspec to = spec_for(k == 2 ? "udp:127.0.0.1:0" : "127.0.0.1:0", 0);
        int fds[3];

        steer(l, 2);
        for (int i = 0; i < 3; i++) {
            cr_expect_eq(listener_queue(l, 1), listener_is_udp(l) ? i > 0 : i);
            fds[i] = connect_to(&to, listener_port(l));
            cr_assert(!listener_is_udp(l) || send(fds[i], "", 0, 0) == 0);
            cr_assert(anything_arrives(l));
        }
        cr_expect_eq(listener_queue(l, 0), 0);
        cr_expect_eq(listener_queue(l, 3), -EINVAL);
        for (int i = 0; i < 3; i++)
            close(fds[i]);
        listener_unref(l);
    }
}

Test(steer, counts_nothing_in_unix_sockets)
{
    struct listener *l = open_spec(unix_spec(), 2, &per_worker);

    cr_expect_eq(listener_queue(l, 0), -EOPNOTSUPP);
    listener_unref(l);
}
