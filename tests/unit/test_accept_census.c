/* Progress that the length of a queue does not show, over real connections. */
#include "mechanism/accept_census.h"

#include "../lib/listeners.h"

static struct accept_census census;

static void teardown(void)
{
    accept_census_end(&census);
    listener_teardown();
}

TestSuite(accept_census, .init = listener_setup, .fini = teardown);

static const char *const addresses[] = {"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "*:0"};

static int take(struct listener *l)
{
    return accept_census_take(&census, &l, 1);
}

static int come(const struct listener *l)
{
    const struct sockspec *spec = listener_spec(l);
    struct sockspec to = spec_for(spec->kind == SOCKSPEC_IP6 ? "[::1]:0" : "127.0.0.1:0", 0);
    int fd = connect_to(&to, listener_port(l));

    cr_assert_geq(fd, 0);
    return fd;
}

static int accept_one(const struct listener *l)
{
    return accept4(listener_fd(l, 0), NULL, NULL, SOCK_CLOEXEC);
}

Test(accept_census, sees_that_nothing_is_accepted)
{
    for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
        struct listener *l = open_text(addresses[i], 1, &per_worker);
        int clients[3];

        for (int k = 0; k < 3; k++) {
            clients[k] = come(l);
            cr_expect_eq(take(l), k ? 0 : -EAGAIN, "%s", addresses[i]);
            cr_expect_eq(take(l), 0, "%s", addresses[i]);
        }
        cr_expect_eq(census.n, 3);
        for (int k = 0; k < 3; k++)
            close(clients[k]);
        cr_expect_eq(take(l), 0, "a client that gave up is not progress");
        listener_unref(l);
        accept_census_end(&census);
    }
}

/* One is taken and one comes: the queue is as long as before. */
Test(accept_census, sees_one_that_was_accepted_and_replaced)
{
    for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
        struct listener *l = open_text(addresses[i], 1, &per_worker);
        int a = come(l), b = come(l), served, c;

        cr_expect_eq(take(l), -EAGAIN);
        served = accept_one(l);
        c = come(l);
        cr_expect_eq(listener_queue(l, 0), 2);
        cr_expect_eq(take(l), 1, "%s", addresses[i]);
        cr_expect_eq(take(l), 0, "%s", addresses[i]);
        close(a);
        close(b);
        close(c);
        close(served);
        listener_unref(l);
        accept_census_end(&census);
    }
}

/* Nothing is left of it but the newcomer. */
Test(accept_census, sees_one_that_was_served_and_closed)
{
    struct listener *l = open_text("127.0.0.1:0", 1, &per_worker);
    int a = come(l), b = come(l), c;

    cr_expect_eq(take(l), -EAGAIN);
    close(accept_one(l));
    close(a);
    c = come(l);
    cr_expect_eq(listener_queue(l, 0), 2);
    cr_expect_eq(take(l), 1);
    close(b);
    close(c);
    listener_unref(l);
}

Test(accept_census, sees_one_that_was_accepted_while_more_came)
{
    struct listener *l = open_text("127.0.0.1:0", 1, &per_worker);
    int clients[10], served;

    clients[0] = come(l);
    cr_expect_eq(take(l), -EAGAIN);
    served = accept_one(l);
    for (int i = 1; i < 10; i++)
        clients[i] = come(l);
    cr_expect_eq(take(l), 1);
    for (int i = 0; i < 10; i++)
        close(clients[i]);
    close(served);
    listener_unref(l);
}

Test(accept_census, counts_the_sockets_of_all_slots)
{
    struct listener *l = open_text("127.0.0.1:0", SLOTS, &per_worker);
    int clients[CLIENTS], served = -1;

    for (int i = 0; i < CLIENTS; i++)
        clients[i] = come(l);
    cr_expect_eq(take(l), -EAGAIN);
    cr_expect_eq(take(l), 0);
    cr_expect_eq(census.n, CLIENTS);
    served = accept4(listener_fd(l, SLOTS - 1), NULL, NULL, SOCK_CLOEXEC);
    cr_expect_eq(take(l), 1);
    for (int i = 0; i < CLIENTS; i++)
        close(clients[i]);
    close(served);
    listener_unref(l);
}

Test(accept_census, is_not_for_datagrams)
{
    struct listener *l = open_text("udp:127.0.0.1:0", 1, &per_worker);

    cr_expect_eq(take(l), -EOPNOTSUPP);
    listener_unref(l);
}
