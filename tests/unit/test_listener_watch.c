/* Samples of the queues of a listener's sockets, and sockets that are healed while they serve. */
#include "mechanism/listener.h"

#include "../lib/listeners.h"
#include "../lib/process.h"
#include "mechanism/socket_watch.h"

static struct ev_loop *loop;
static struct socket_watch *watch;
static struct listener *told;
static int waiting, hangup = -1;

static void on_waiting(void *data UNUSED, void *owner, int number UNUSED)
{
    told = owner;
    waiting++;
}

static void on_hangup(void *data UNUSED, void *owner, int number)
{
    told = owner;
    hangup = number;
    listener_note_shut(owner, number);
}

static const struct socket_watch_ops ops = {.waiting = on_waiting, .hangup = on_hangup};

static void setup(void)
{
    listener_setup();
    loop = ev_loop_new(EVFLAG_AUTO);
    cr_assert_eq(socket_watch_open(loop, &ops, NULL, &watch), 0);
}

static void teardown(void)
{
    socket_watch_close(watch);
    ev_loop_destroy(loop);
    listener_teardown();
}

TestSuite(listener_watch, .init = setup, .fini = teardown);

static void run(void)
{
    for (int i = 0; i < 5; i++)
        ev_run(loop, EVRUN_NOWAIT);
}

static struct listener_sample sample(struct listener *l, int slot)
{
    struct listener_sample sum = {0};

    listener_sample(l, slot, &sum);
    return sum;
}

static void expect_sample(struct listener *l, int waits, bool taken, bool grown)
{
    struct listener_sample s = sample(l, 0);

    cr_expect_eq(s.waiting, waits, "%d wait instead of %d", s.waiting, waits);
    cr_expect_eq(s.taken, taken);
    cr_expect_eq(s.grown, grown);
}

Test(listener_watch, samples_connections)
{
    struct listener *l = open_text("127.0.0.1:0", 1, &per_worker);
    int a = connect_to(listener_spec(l), listener_port(l));
    int b = connect_to(listener_spec(l), listener_port(l));

    expect_sample(l, 2, false, true);
    expect_sample(l, 2, false, false);
    close(accept(listener_fd(l, 0), NULL, NULL));
    expect_sample(l, 1, true, false);
    close(accept(listener_fd(l, 0), NULL, NULL));
    expect_sample(l, 0, true, false);
    expect_sample(l, 0, false, false);
    close(a);
    close(b);
    listener_unref(l);
}

/* One that comes and one that is taken hide each other. */
Test(listener_watch, a_sample_does_not_see_what_was_added_meanwhile)
{
    struct listener *l = open_text("127.0.0.1:0", 1, &per_worker);
    int a = connect_to(listener_spec(l), listener_port(l)), b;

    expect_sample(l, 1, false, true);
    b = connect_to(listener_spec(l), listener_port(l));
    close(accept(listener_fd(l, 0), NULL, NULL));
    expect_sample(l, 1, false, false);
    close(a);
    close(b);
    listener_unref(l);
}

Test(listener_watch, samples_datagrams)
{
    struct listener *l = open_text("udp:127.0.0.1:0", 1, &per_worker);
    struct sockspec to = spec_for("udp:127.0.0.1:0", 0);
    CLEANUP_CLOSE int client = connect_to(&to, listener_port(l));
    char byte = 'x';

    expect_sample(l, 0, false, false);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(send(client, &byte, 1, 0), 1);
    cr_assert(anything_arrives(l));
    expect_sample(l, 1, false, true);
    expect_sample(l, 1, false, false);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(recv(listener_fd(l, 0), &byte, 1, 0), 1);
    expect_sample(l, 0, true, false);
    listener_unref(l);
}

Test(listener_watch, samples_add_up)
{
    struct listener *l = open_text("127.0.0.1:0", 1, &per_worker);
    int a = connect_to(listener_spec(l), listener_port(l));
    struct listener_sample sum = {.waiting = 5, .taken = true};

    listener_sample(l, 0, &sum);
    listener_sample(l, 7, &sum);
    cr_expect_eq(sum.waiting, 6);
    cr_expect(sum.taken && sum.grown);
    close(a);
    listener_unref(l);
}

Test(listener_watch, watches_sockets_that_come_later)
{
    struct listener *l = open_text("127.0.0.1:0", 1, &per_worker);

    listener_watch(l, watch);
    cr_assert_eq(listener_grow(l, SLOTS, &why), 0);
    shutdown(listener_fd(l, SLOTS - 1), SHUT_RD);
    run();
    cr_expect_eq(told, l);
    cr_expect_eq(hangup, SLOTS - 1);
    listener_unref(l);
    run();
}

/* A socket that a worker bound but does not listen on yet looks as if it was shut down. */
Test(listener_watch, watches_a_discovered_socket_from_listen_on)
{
    struct sockspec spec = spec_for("127.0.0.1:0", 0);
    struct listener *first = open_text("127.0.0.1:0", 1, &per_worker), *l = NULL;

    spec.port = listener_port(first);
    listener_unref(first);
    cr_assert_eq(listener_open_empty(&spec, 0, &per_worker, &l, &why), 0);
    listener_watch(l, watch);
    cr_assert_eq(listener_bind_slot(l, 1, &why), 0, "%s", why.text);
    run();
    cr_expect_eq(hangup, -1);
    cr_assert_eq(listener_listen_slot(l, 1), 0);
    run();
    cr_expect_eq(hangup, -1);
    shutdown(listener_fd(l, 1), SHUT_RD);
    run();
    cr_expect_eq(hangup, 1);
    listener_unref(l);
}

/* A worker still holds the socket: it must not be told of any more, nor keep the loop busy. */
Test(listener_watch, forgets_sockets_that_were_closed)
{
    struct listener *l = open_text("127.0.0.1:0", SLOTS, &per_worker);
    CLEANUP_CLOSE int workers = -1;

    listener_watch(l, watch);
    workers = dup(listener_fd(l, SLOTS - 1));
    listener_shrink(l, 1);
    shutdown(workers, SHUT_RDWR);
    run();
    cr_expect_eq(hangup, -1);
    listener_unref(l);
    run();
    cr_expect_eq(hangup, -1);
}

Test(listener_watch, is_told_of_connections_when_armed)
{
    struct listener *l = open_text("127.0.0.1:0", 1, &per_worker);
    int client;

    listener_watch(l, watch);
    listener_arm(l, 0);
    run();
    cr_expect_eq(waiting, 0);
    client = connect_to(listener_spec(l), listener_port(l));
    run();
    cr_expect_eq(waiting, 1);
    close(client);
    listener_unref(l);
}

static void expect_healed(struct listener *l, int slot)
{
    run();
    cr_assert_eq(hangup, slot);
    hangup = -1;
    cr_expect(!listener_is_listening(l, slot));
    cr_expect_eq(listener_heal(l, slot), 1);
    cr_expect(listener_is_listening(l, slot));
    cr_expect_eq(listener_heal(l, slot), 0);
    run();
    cr_expect_eq(hangup, -1);
}

Test(listener_watch, heals_a_shutdown_again_and_again)
{
    struct listener *l = open_text("127.0.0.1:0", SLOTS, &per_worker);

    listener_watch(l, watch);
    for (int i = 0; i < 3; i++) {
        uint16_t port = listener_port(l);

        shutdown(listener_fd(l, 2), i == 1 ? SHUT_RD : SHUT_RDWR);
        expect_healed(l, 2);
        for (int k = 0; k < 20; k++)
            cr_assert(serves(l, NULL));
        cr_expect_eq(listener_port(l), port);
        cr_expect_eq(backlog_of(listener_fd(l, 2)), BACKLOG);
    }
    listener_unref(l);
}

Test(listener_watch, heals_a_disconnect)
{
    static const char *const texts[] = {"127.0.0.1:0", "[::1]:0"};
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct listener *l = open_text(texts[i], 2, i ? &shared : &per_worker);

        listener_watch(l, watch);
        cr_assert_eq(connect(listener_fd(l, 0), &nobody, sizeof(nobody)), 0);
        expect_healed(l, 0);
        cr_expect(serves(l, NULL));
        listener_unref(l);
    }
}

/* Without it the kernel refuses listen(2) in a group. */
Test(listener_watch, heals_one_without_reuseport)
{
    struct listener *l = open_text("127.0.0.1:0", 2, &per_worker);

    listener_watch(l, watch);
    set_number(listener_fd(l, 1), SOL_SOCKET, SO_REUSEPORT, 0);
    shutdown(listener_fd(l, 1), SHUT_RD);
    expect_healed(l, 1);
    listener_unref(l);
}

Test(listener_watch, leaves_alone_what_is_not_shut_down)
{
    struct listener *l = open_text("127.0.0.1:0", 1, &per_worker);

    cr_expect_eq(listener_heal(l, 0), 0);
    cr_expect_eq(listener_heal(l, 5), 0);
    listener_unref(l);
}

Test(listener_watch, cannot_heal_datagrams)
{
    struct listener *l = open_text("udp:127.0.0.1:0", 2, &per_worker);

    listener_note_shut(l, 1);
    cr_expect_eq(listener_heal(l, 1), -EOPNOTSUPP);
    cr_expect_eq(listener_heal(l, 1), 0);
    listener_unref(l);
}

/* What is the kernel's order after a heal is known: each slot gets what is meant for it. */
Test(listener_watch, steers_rightly_after_a_heal)
{
    struct listener *l = open_text("127.0.0.1:0", SLOTS, &per_worker);

    listener_watch(l, watch);
    for (int i = 0; i < SLOTS; i++)
        listener_set_live(l, i, true);
    cr_assert_eq(listener_steer(l, &(struct steer_plan){.balance = BALANCE_HASH}), 0);
    cr_expect(listener_is_steered(l));
    shutdown(listener_fd(l, 0), SHUT_RD);
    expect_healed(l, 0);
    for (int only = 0; only < SLOTS; only++) {
        for (int i = 0; i < SLOTS; i++)
            listener_set_live(l, i, i == only);
        cr_assert_eq(listener_steer(l, &(struct steer_plan){.balance = BALANCE_HASH}), 0);
        for (int k = 0; k < 20; k++) {
            int client = connect_to(listener_spec(l), listener_port(l));

            cr_expect_eq(accept_all(nonblocking(listener_fd(l, only))), 1, "slot %d", only);
            close(client);
        }
    }
    listener_unref(l);
}

static void attach(int fd, int option)
{
    struct sock_filter zero = BPF_STMT(BPF_RET | BPF_K, 0);
    struct sock_fprog program = {.len = 1, .filter = &zero};

    cr_assert_eq(setsockopt(fd, SOL_SOCKET, option, &program, sizeof(program)), 0);
}

Test(listener_watch, undoes_filters)
{
    struct listener *l = open_text("127.0.0.1:0", 2, &per_worker);

    cr_expect_eq(listener_undo(l), 0);
    attach(listener_fd(l, 0), SO_ATTACH_FILTER);
    attach(listener_fd(l, 1), SO_ATTACH_FILTER);
    cr_expect_eq(listener_undo(l), 2);
    cr_expect(serves(l, NULL));
    listener_unref(l);
}

Test(listener_watch, undoes_steering)
{
    struct listener *l = open_text("127.0.0.1:0", 2, &per_worker);
    int n = 0;

    listener_set_live(l, 1, true);
    cr_assert_eq(listener_steer(l, &(struct steer_plan){.balance = BALANCE_HASH}), 0);
    attach(listener_fd(l, 0), SO_ATTACH_REUSEPORT_CBPF);
    listener_undo(l);
    for (int k = 0; k < 20; k++) {
        int client = connect_to(listener_spec(l), listener_port(l));

        n += accept_all(nonblocking(listener_fd(l, 1)));
        close(client);
    }
    cr_expect_eq(n, 20);
    listener_unref(l);
}
