/* Being told of connections and of damage, over real sockets. */
#include "mechanism/socket_watch.h"

#include <fcntl.h>
#include <poll.h>

#include "../lib/listeners.h"

static struct ev_loop *loop;
static struct socket_watch *watch;
static int waiting[SLOTS], hangups[SLOTS];
static bool removes_others;
static struct listener *l;

static void on_waiting(void *data, void *owner, int number)
{
    cr_assert_eq(data, waiting);
    cr_assert_eq(owner, l);
    waiting[number]++;
    for (int i = 0; i < SLOTS && removes_others; i++)
        socket_watch_remove(watch, listener_fd(l, i));
}

static void on_hangup(void *data UNUSED, void *owner, int number)
{
    cr_assert_eq(owner, l);
    hangups[number]++;
}

static const struct socket_watch_ops ops = {.waiting = on_waiting, .hangup = on_hangup};

static void setup(void)
{
    listener_setup();
    loop = ev_loop_new(EVFLAG_AUTO);
    cr_assert_eq(socket_watch_open(loop, &ops, waiting, &watch), 0);
    l = open_text("127.0.0.1:0", SLOTS, &per_worker);
    for (int i = 0; i < SLOTS; i++)
        cr_assert_eq(socket_watch_add(watch, listener_fd(l, i), l, i), 0);
}

static void teardown(void)
{
    socket_watch_close(watch);
    listener_unref(l);
    ev_loop_destroy(loop);
    listener_teardown();
}

TestSuite(socket_watch, .init = setup, .fini = teardown);

/* Everything that there is to tell now. */
static void run(void)
{
    for (int i = 0; i < 5; i++)
        ev_run(loop, EVRUN_NOWAIT);
}

static void arm_all(void)
{
    for (int i = 0; i < SLOTS; i++)
        socket_watch_arm(watch, listener_fd(l, i));
}

static int sum(const int *numbers)
{
    int n = 0;

    for (int i = 0; i < SLOTS; i++)
        n += numbers[i];
    return n;
}

/* Connects until each slot has some; returns the clients' number. */
static int connect_to_all(int *clients)
{
    for (int i = 0; i < CLIENTS; i++)
        cr_assert_geq(clients[i] = connect_to(listener_spec(l), listener_port(l)), 0);
    for (int i = 0; i < SLOTS; i++)
        cr_assert_gt(listener_queue(l, i), 0);
    return CLIENTS;
}

static void close_all(const int *clients)
{
    for (int i = 0; i < CLIENTS; i++)
        close(clients[i]);
}

Test(socket_watch, is_quiet_at_first)
{
    int clients[CLIENTS];

    connect_to_all(clients);
    run();
    cr_expect_eq(sum(waiting), 0);
    close_all(clients);
}

Test(socket_watch, tells_once_when_connections_come)
{
    int clients[CLIENTS];

    arm_all();
    run();
    cr_expect_eq(sum(waiting), 0);
    connect_to_all(clients);
    run();
    for (int i = 0; i < SLOTS; i++)
        cr_expect_eq(waiting[i], 1, "slot %d: told %d times", i, waiting[i]);
    close_all(clients);
}

Test(socket_watch, tells_of_what_waits_already_when_it_is_armed)
{
    int clients[CLIENTS];

    connect_to_all(clients);
    arm_all();
    run();
    cr_expect_eq(sum(waiting), SLOTS);
    arm_all();
    run();
    cr_expect_eq(sum(waiting), 2 * SLOTS);
    close_all(clients);
}

/* Armed, quiet from the start, and quiet after it told. */
Test(socket_watch, tells_of_a_shutdown_whether_armed_or_not)
{
    int clients[CLIENTS];

    connect_to_all(clients);
    socket_watch_arm(watch, listener_fd(l, 0));
    run();
    close_all(clients);
    socket_watch_arm(watch, listener_fd(l, 1));
    run();
    for (int i = 0; i < 3; i++) {
        CLEANUP_CLOSE int workers = dup(listener_fd(l, i));

        shutdown(workers, SHUT_RDWR);
    }
    run();
    for (int i = 0; i < SLOTS; i++)
        cr_expect_eq(hangups[i], i < 3, "slot %d: told %d times", i, hangups[i]);
}

Test(socket_watch, tells_no_more_of_one_that_was_removed)
{
    int clients[CLIENTS];

    arm_all();
    socket_watch_remove(watch, listener_fd(l, 2));
    socket_watch_remove(watch, listener_fd(l, 2));
    connect_to_all(clients);
    shutdown(listener_fd(l, 2), SHUT_RDWR);
    run();
    cr_expect_eq(waiting[2], 0);
    cr_expect_eq(hangups[2], 0);
    cr_expect_eq(sum(waiting), SLOTS - 1);
    close_all(clients);
}

Test(socket_watch, may_lose_others_while_it_tells)
{
    int clients[CLIENTS];

    arm_all();
    connect_to_all(clients);
    removes_others = true;
    run();
    cr_expect_eq(sum(waiting), 1);
    close_all(clients);
}

/* A worker holds the old socket, and the descriptor is that of another now. */
Test(socket_watch, tells_sockets_of_one_descriptor_apart)
{
    int fd = listener_fd(l, 0);
    CLEANUP_CLOSE int workers = dup(fd);
    CLEANUP_CLOSE int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    socket_watch_remove(watch, fd);
    cr_assert_eq(listen(other, 5), 0);
    cr_assert_eq(dup3(other, fd, O_CLOEXEC), fd);
    cr_assert_eq(socket_watch_add(watch, fd, l, 3), 0);
    shutdown(workers, SHUT_RDWR);
    run();
    cr_expect_eq(sum(hangups), 0);
    shutdown(other, SHUT_RDWR);
    run();
    cr_expect_eq(hangups[3], 1);
}

Test(socket_watch, adding_twice_changes_nothing)
{
    int clients[CLIENTS];

    arm_all();
    for (int i = 0; i < SLOTS; i++)
        cr_expect_eq(socket_watch_add(watch, listener_fd(l, i), l, 0), 0);
    connect_to_all(clients);
    run();
    for (int i = 0; i < SLOTS; i++)
        cr_expect_eq(waiting[i], 1);
    close_all(clients);
}

Test(socket_watch, takes_high_descriptors)
{
    int fd = fcntl(listener_fd(l, 1), F_DUPFD_CLOEXEC, 900);

    cr_assert_eq(socket_watch_add(watch, fd, l, 1), 0);
    shutdown(fd, SHUT_RDWR);
    run();
    cr_expect_eq(hangups[1], 2, "told by both descriptors of it");
    close(fd);
}
