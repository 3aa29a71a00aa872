/* Starts that wait for their turn: all run, in order, a few in each round of the loop. */
#include <criterion/criterion.h>

#include "cluster/start_queue.h"

#define N 100

static struct start_queue queue;
static struct start_item items[N];
static int order[N], nrun;

static void run(struct start_item *item)
{
    order[nrun++] = (int)(item - items);
}

static struct ev_loop *begin(void)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);

    start_queue_init(&queue, loop);
    for (int i = 0; i < N; i++)
        items[i].run = run;
    return loop;
}

static void end(struct ev_loop *loop)
{
    start_queue_end(&queue);
    ev_loop_destroy(loop);
}

Test(start_queue, runs_all_in_order_and_then_sleeps)
{
    struct ev_loop *loop = begin();

    for (int i = 0; i < N; i++)
        start_queue_add(&queue, &items[i]);
    cr_expect_eq(nrun, 0, "nothing runs inside start_queue_add()");
    ev_run(loop, 0); /* returns when no timer is left */
    cr_assert_eq(nrun, N);
    for (int i = 0; i < N; i++)
        cr_expect_eq(order[i], i);
    end(loop);
}

Test(start_queue, leaves_the_loop_its_turns)
{
    struct ev_loop *loop = begin();
    int rounds = 0;

    for (int i = 0; i < N; i++)
        start_queue_add(&queue, &items[i]);
    for (; nrun < N && rounds < N; rounds++) {
        int before = nrun;

        ev_run(loop, EVRUN_ONCE);
        cr_expect_leq(nrun - before, 8);
    }
    cr_expect_geq(rounds, N / 8);
    end(loop);
}

Test(start_queue, an_item_is_queued_once)
{
    struct ev_loop *loop = begin();

    start_queue_add(&queue, &items[0]);
    start_queue_add(&queue, &items[0]);
    ev_run(loop, 0);
    cr_expect_eq(nrun, 1);
    end(loop);
}

Test(start_queue, removed_items_do_not_run_and_the_rest_keeps_its_order)
{
    struct ev_loop *loop = begin();

    for (int i = 0; i < 4; i++)
        start_queue_add(&queue, &items[i]);
    start_queue_remove(&queue, &items[0]);
    start_queue_remove(&queue, &items[3]);
    start_queue_remove(&queue, &items[7]); /* was never there */
    start_queue_add(&queue, &items[4]);
    ev_run(loop, 0);
    cr_assert_eq(nrun, 3);
    cr_expect_eq(order[0], 1);
    cr_expect_eq(order[1], 2);
    cr_expect_eq(order[2], 4);
    end(loop);
}

static void add_another(struct start_item *item)
{
    run(item);
    if (nrun < 20)
        start_queue_add(&queue, item);
}

Test(start_queue, an_item_may_queue_itself_again)
{
    struct ev_loop *loop = begin();

    items[0].run = add_another;
    start_queue_add(&queue, &items[0]);
    ev_run(loop, 0);
    cr_expect_eq(nrun, 20);
    end(loop);
}
