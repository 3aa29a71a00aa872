#include "../lib/listeners.h"

enum { KNOCKS = 50 }; /* fewer than a queue takes */

TestSuite(listener_reopen, .init = listener_setup, .fini = listener_teardown);

/* Duplicates of a listener's sockets in the kernel's order, as a service manager keeps them; the
 * listener itself is closed, as by the death of its master. */
static size_t leave(struct listener *l, struct listener_socket *out)
{
    uint64_t inodes[SLOTS];
    size_t n = listener_order(l, inodes, SLOTS);

    for (size_t i = 0; i < n; i++)
        for (int slot = 0; slot < SLOTS; slot++)
            if (listener_inode(l, slot) == inodes[i])
                out[i] = (struct listener_socket){
                    .slot = slot, .fd = fcntl(listener_fd(l, slot), F_DUPFD_CLOEXEC, 3)};
    listener_unref(l);
    return n;
}

static struct listener *reopen(const struct sockspec *spec, int nslots,
                               const struct listener_socket *sockets, size_t n)
{
    struct listener *l = NULL;

    cr_assert_eq(listener_reopen(spec, nslots, &per_worker, sockets, n, &l, &why), 0, "%s",
                 why.text);
    return l;
}

/* The same listener for the next master. */
static struct listener *hand_on(struct listener *l, const struct sockspec *spec)
{
    struct listener_socket sockets[SLOTS];

    cr_assert_eq(leave(l, sockets), SLOTS);
    return reopen(spec, SLOTS, sockets, SLOTS);
}

static int count_queued(const struct listener *l)
{
    int n = 0;

    for (int i = 0; listener_fd(l, i) >= 0; i++)
        n += listener_queue(l, i);
    return n;
}

static void knock(const struct listener *l, int *clients)
{
    for (int i = 0; i < KNOCKS; i++) {
        clients[i] = connect_to(listener_bound(l), listener_port(l));
        cr_assert_geq(clients[i], 0);
    }
}

static void hang_up(int *clients)
{
    for (int i = 0; i < KNOCKS; i++)
        close(clients[i]);
}

Test(listener_reopen, queues_survive)
{
    static const char *const addresses[] = {"127.0.0.1:0", "[::1]:0", "0.0.0.0:0"};

    for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
        struct sockspec spec = spec_for(addresses[i], 0);
        struct listener *l = open_spec(spec, SLOTS, &per_worker);
        uint16_t port = listener_port(l);
        int clients[KNOCKS];

        knock(l, clients);
        l = hand_on(l, &spec);
        cr_expect_eq(listener_port(l), port);
        cr_expect_eq(count_queued(l), KNOCKS);
        hang_up(clients);
        listener_unref(l);
    }
}

/* The group's order is no longer that of the slots, and steering goes by it. */
Test(listener_reopen, steers_as_before)
{
    struct sockspec spec = spec_for("127.0.0.1:0", 0);
    struct listener *l = open_spec(spec, SLOTS, &per_worker);
    struct listener_socket sockets[SLOTS];
    int clients[KNOCKS];

    shutdown(listener_fd(l, 1), SHUT_RDWR);
    cr_assert_eq(listener_restore(l, 1), 0);
    cr_assert_eq(leave(l, sockets), SLOTS);
    cr_assert_eq(sockets[1].slot, SLOTS - 1, "the last took the place of the one that left");
    l = reopen(&spec, SLOTS, sockets, SLOTS);
    for (int slot = 0; slot < SLOTS; slot++)
        listener_set_live(l, slot, slot == 1);
    cr_assert_eq(listener_steer(l, &(struct steer_plan){.balance = BALANCE_HASH}), 0);
    knock(l, clients);
    cr_expect_eq(listener_queue(l, 1), KNOCKS);
    hang_up(clients);
    listener_unref(l);
}

Test(listener_reopen, one_that_was_shut_down_comes_last)
{
    struct sockspec spec = spec_for("127.0.0.1:0", 0);
    struct listener *l = open_spec(spec, SLOTS, &per_worker);
    uint64_t inodes[SLOTS];

    shutdown(listener_fd(l, 0), SHUT_RDWR);
    l = hand_on(l, &spec);
    cr_expect(accepts(listener_fd(l, 0)));
    cr_assert_eq(listener_order(l, inodes, SLOTS), SLOTS);
    cr_expect_eq(inodes[SLOTS - 1], listener_inode(l, 0));
    listener_unref(l);
}

/* A worker shut it down and took it out of the group: it must not end the others. */
Test(listener_reopen, one_that_cannot_be_revived_is_made_anew)
{
    struct sockspec spec = spec_for("127.0.0.1:0", 0);
    struct listener *l = open_spec(spec, SLOTS, &per_worker);
    const int off = 0;

    shutdown(listener_fd(l, 1), SHUT_RDWR);
    setsockopt(listener_fd(l, 1), SOL_SOCKET, SO_REUSEPORT, &off, sizeof(off));
    l = hand_on(l, &spec);
    cr_expect_eq(listener_fd(l, 1), -1);
    cr_expect(accepts(listener_fd(l, 0)));
    cr_assert_eq(listener_grow(l, SLOTS, &why), 0, "%s", why.text);
    cr_expect(accepts(listener_fd(l, 1)));
    listener_unref(l);
}

/* Sockets of slots that are gone end, for the service manager too; missing ones are made. */
Test(listener_reopen, other_numbers_of_slots)
{
    struct sockspec spec = spec_for("127.0.0.1:0", 0);
    struct listener *l = open_spec(spec, SLOTS, &per_worker);
    struct listener_socket sockets[SLOTS];
    int kept_by_manager;

    cr_assert_eq(leave(l, sockets), SLOTS);
    kept_by_manager = fcntl(sockets[3].fd, F_DUPFD_CLOEXEC, 3);
    l = reopen(&spec, 3, (struct listener_socket[]){sockets[2], sockets[3], sockets[0]}, 3);
    cr_expect_not(accepts(kept_by_manager));
    cr_expect_eq(listener_fd(l, 1), -1);
    close(sockets[1].fd);
    cr_assert_eq(listener_grow(l, SLOTS, &why), 0, "%s", why.text);
    for (int i = 0; i < SLOTS; i++)
        cr_expect(accepts(listener_fd(l, i)), "%d", i);
    cr_expect(serves(l, "127.0.0.1:0"));
    listener_unref(l);
    close(kept_by_manager);
}

Test(listener_reopen, what_does_not_fit)
{
    struct listener *other = open_text("127.0.0.2:0", 1, &per_worker);
    struct sockspec spec = spec_for("127.0.0.1:0", 0);
    struct listener_socket sockets[] = {
        {.slot = 0, .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)},
        {.slot = 0, .fd = fcntl(listener_fd(other, 0), F_DUPFD_CLOEXEC, 3)},
        {.slot = 0, .fd = open("/dev/null", O_RDONLY | O_CLOEXEC)},
        {.slot = 0, .fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)},
        {.slot = 0, .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)},
    };
    int before = count_descriptors();
    struct listener *l = NULL;

    cr_assert_eq(listener_reopen(&spec, SLOTS, &per_worker, sockets, ARRAY_SIZE(sockets), &l, &why),
                 -ENOENT);
    cr_expect_eq(count_descriptors(), before - (int)ARRAY_SIZE(sockets));
    listener_unref(other);
}

/* The first one of a slot counts. */
Test(listener_reopen, two_for_one_slot)
{
    struct sockspec spec = spec_for("127.0.0.1:0", 0);
    struct listener *l = open_spec(spec, SLOTS, &per_worker);
    struct listener_socket sockets[SLOTS];
    uint64_t inode;

    leave(l, sockets);
    inode = inode_of(sockets[2].fd);
    sockets[3].slot = 2;
    l = reopen(&spec, SLOTS, sockets, SLOTS);
    cr_expect_eq(listener_inode(l, 2), inode);
    cr_expect_eq(listener_fd(l, 3), -1);
    listener_unref(l);
}

/* What the last worker did to a socket is undone at the next start, as if nothing had happened. */
Test(listener_reopen, options_are_those_of_a_new_socket)
{
    struct sockspec spec = spec_for("127.0.0.1:0", 0);
    struct listener *l = open_spec(spec, SLOTS, &per_worker);
    int nodelay = number(listener_fd(l, 0), IPPROTO_TCP, TCP_NODELAY);

    set_number(listener_fd(l, 0), IPPROTO_TCP, TCP_NODELAY, 1);
    fcntl(listener_fd(l, 0), F_SETFL, O_NONBLOCK);
    l = hand_on(l, &spec);
    cr_assert_eq(listener_restore(l, 0), 0);
    cr_expect_eq(number(listener_fd(l, 0), IPPROTO_TCP, TCP_NODELAY), nodelay);
    cr_expect_eq(fcntl(listener_fd(l, 0), F_GETFL) & O_NONBLOCK, 0);
    cr_expect_eq(number(listener_fd(l, 0), SOL_SOCKET, SO_REUSEPORT), 1);
    listener_unref(l);
}

Test(listener_reopen, unix_needs_its_file)
{
    struct sockspec spec = unix_spec();
    struct listener *l = open_spec(spec, 1, &shared);
    struct listener_socket given = {.fd = fcntl(listener_fd(l, 0), F_DUPFD_CLOEXEC, 3)};
    struct listener_socket again = {.fd = fcntl(given.fd, F_DUPFD_CLOEXEC, 3)};
    struct listener *first = NULL, *second = NULL;

    cr_assert_eq(listener_reopen(&spec, 1, &shared, &given, 1, &first, &why), 0, "%s", why.text);
    cr_expect(serves(first, NULL));
    listener_unref(first);
    cr_expect_eq(access(spec.path, F_OK), -1, "the file goes with the listener");
    cr_expect_eq(listener_reopen(&spec, 1, &shared, &again, 1, &second, &why), -ENOENT);
    listener_unref(l);
}

/* ---- sockets in use ---- */

static struct listener *reopen_in_use(const struct sockspec *spec,
                                      const struct listener_socket *sockets, size_t n, int wanted)
{
    const struct listener_options in_use = {.backlog = 64, .in_use = true};
    struct listener *l = NULL;

    cr_assert_eq(listener_reopen(spec, SLOTS, &in_use, sockets, n, &l, &why), wanted, "%s",
                 why.text);
    return l;
}

Test(listener_reopen, unix_socket_in_use_without_its_file)
{
    struct sockspec spec = unix_spec();
    struct listener *l = open_spec(spec, SLOTS, &per_worker);
    struct listener_socket socket = {.slot = 0, .fd = fcntl(listener_fd(l, 0), F_DUPFD_CLOEXEC, 3)};

    cr_expect(listener_is_reachable(l));
    listener_unref(l); /* with the file */
    l = reopen_in_use(&spec, &socket, 1, 0);
    cr_expect_not(listener_is_reachable(l));
    cr_expect(listener_is_listening(l, SLOTS - 1));
    listener_unref(l);
}

/* The worker goes on with what is of no use to the master. */
Test(listener_reopen, socket_in_use_that_does_not_fit_is_not_shut_down)
{
    struct listener *other = open_text("127.0.0.2:0", 1, &per_worker);
    struct sockspec spec = spec_for("127.0.0.1:0", 0);
    struct listener_socket socket = {.slot = 0,
                                     .fd = fcntl(listener_fd(other, 0), F_DUPFD_CLOEXEC, 3)};
    int before = count_descriptors();

    reopen_in_use(&spec, &socket, 1, -ENOENT);
    cr_expect_eq(count_descriptors(), before - 1);
    cr_expect(accepts(listener_fd(other, 0)));
    listener_unref(other);
}

/* Its worker shut it down, and the upgrade came before it was healed. */
Test(listener_reopen, inherited_socket_in_use_listens_again)
{
    const struct listener_options in_use = {.backlog = 64, .shared = true, .in_use = true};
    struct listener *other = open_text("127.0.0.1:0", 1, &shared);
    int fd = fcntl(listener_fd(other, 0), F_DUPFD_CLOEXEC, 3);
    struct listener *l = NULL;

    shutdown(fd, SHUT_RDWR);
    cr_assert_eq(listener_take(fcntl(fd, F_DUPFD_CLOEXEC, 3), "web", &shared, &l, &why), -EINVAL);
    cr_assert_eq(listener_take(fd, "web", &in_use, &l, &why), 0, "%s", why.text);
    cr_expect(accepts(fd));
    listener_unref(l);
    listener_unref(other);
}
