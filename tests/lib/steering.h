/* For the unit tests of steering: connections are made, and the slots where they arrive counted. */
#ifndef PREFORKD_TESTS_STEERING_H
#define PREFORKD_TESTS_STEERING_H

#include "mechanism/steer.h"

#include "listeners.h"
#include "process.h"

enum { MANY_SLOTS = 8, FEW = 24 };

static UNUSED const struct {
    const char *listen, *to;
} addresses[] = {
    {"127.0.0.1:0", "127.0.0.1:0"},
    {"[::1]:0", "[::1]:0"},
    {"*:0", "127.0.0.1:0"},
    {"*:0", "[::1]:0"},
    {"udp:127.0.0.1:0", "udp:127.0.0.1:0"},
    {"udp:*:0", "udp:[::1]:0"},
    {"udp:*:0", "udp:127.0.0.1:0"},
};

/* ---- by both kinds of programs ---- */

static UNUSED void need_ebpf(void)
{
    struct steer_ebpf ebpf;
    int r;

    steer_ebpf_init(&ebpf);
    r = steer_ebpf_prepare(&ebpf, &(struct steer_plan){.balance = BALANCE_HASH});
    steer_ebpf_free(&ebpf);
    if (r < 0)
        cr_skip_test("no eBPF: %s", strerror(-r));
}

static UNUSED void without_ebpf(void)
{
    drop_capability(CAP_BPF);
    drop_capability(CAP_SYS_ADMIN);
}

/* ---- helpers ---- */

/* Takes what waits in a slot's socket; the socket is left as it was. */
static UNUSED int take_all(const struct listener *l, int slot)
{
    struct pollfd p = {.fd = listener_fd(l, slot), .events = POLLIN};
    int n = 0;
    char byte;

    while (poll(&p, 1, 0) == 1 && (p.revents & POLLIN)) {
        int fd = listener_is_udp(l) ? -1 : accept4(p.fd, NULL, NULL, SOCK_CLOEXEC);

        if (listener_is_udp(l))
            cr_assert_eq(recv(p.fd, &byte, 1, MSG_DONTWAIT), 1);
        else
            cr_assert_geq(fd, 0);
        if (fd >= 0)
            close(fd);
        n++;
    }
    return n;
}

/* Takes what arrives for all slots, once there is something. */
static UNUSED int arrivals(const struct listener *l, int *hits)
{
    int sum = 0;

    anything_arrives(l);
    for (int slot = 0; listener_fd(l, slot) >= 0; slot++) {
        int n = take_all(l, slot);

        hits[slot] += n;
        sum += n;
    }
    return sum;
}

/* Makes `clients` connections, each from a port of its own, and counts them by slot. The client
 * closes first: the end that does may be forgotten before the other one's last packet comes, where
 * the kernel has too many in TIME_WAIT, and such a packet would be steered like a new connection.
 */
static UNUSED void knock(const struct listener *l, const char *to_text, int clients, int *hits)
{
    struct sockspec to = spec_for(to_text, 0);

    for (int i = 0; i < clients; i++) {
        int fd = connect_to(&to, listener_port(l));

        cr_assert_geq(fd, 0, "%s", strerror(-fd));
        if (listener_is_udp(l))
            cr_assert_eq(send(fd, "x", 1, 0), 1);
        close(fd);
        cr_assert_eq(arrivals(l, hits), 1);
    }
}

static UNUSED void set_live(struct listener *l, unsigned mask)
{
    for (int slot = 0; slot < 32 && listener_fd(l, slot) >= 0; slot++)
        listener_set_live(l, slot, mask >> slot & 1);
}

static UNUSED int steer_by(struct listener *l, enum balance_mode balance)
{
    return listener_steer(l, &(struct steer_plan){.balance = balance});
}

static UNUSED void steer(struct listener *l, unsigned mask)
{
    set_live(l, mask);
    cr_assert_eq(steer_by(l, BALANCE_HASH), 0);
}

static UNUSED void expect_only(const struct listener *l, const char *to, unsigned mask, int clients)
{
    int hits[MANY_SLOTS] = {0};

    knock(l, to, clients, hits);
    for (int slot = 0; listener_fd(l, slot) >= 0; slot++)
        if (!(mask >> slot & 1))
            cr_assert_eq(hits[slot], 0, "%s: %d in slot %d", listener_address(l), hits[slot], slot);
}

/* Each slot can be singled out, so that we know its number in the group. */
static UNUSED void expect_order_is_known(struct listener *l, const char *to)
{
    for (int slot = 0; listener_fd(l, slot) >= 0; slot++) {
        steer(l, 1u << slot);
        expect_only(l, to, 1u << slot, FEW);
    }
}

/* A worker's doing, through a descriptor of its own. */
static UNUSED void shut_down(const struct listener *l, int slot)
{
    CLEANUP_CLOSE int workers = dup(listener_fd(l, slot));

    shutdown(workers, SHUT_RDWR);
}

#endif
