#include "mechanism/http_server.h"

#include "http_fixture.h"

TestSuite(http_limits, .fini = tear_down, .timeout = 60);

Test(http_limits, close_gives_every_descriptor_back)
{
    unsigned before = descriptors();
    int fds[3];

    open_with(CONNECTIONS, 60000);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = client();
    wait_for_connections(ARRAY_SIZE(fds));
    tear_down();
    server = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
    cr_expect_eq(descriptors(), before);
}

Test(http_limits, a_good_request_is_answered_among_slow_ones)
{
    int fds[200];

    open_with(CONNECTIONS, 60000);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        fds[i] = client();
        send(fds[i], "GET / HTTP/1.1\r\nX: ", i % 19, MSG_NOSIGNAL);
        if (i % 7 == 0)
            step();
        cr_expect_leq(http_server_connections(server), CONNECTIONS);
    }
    for (int i = 0; i < 20; i++)
        cr_expect_eq(status_to("GET / HTTP/1.1" HOST "\r\n"), 200);
    cr_expect_gt(http_server_connections(server), 0, "the last slow ones are still there");
    wait_for_end(fds[0]);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
}

Test(http_limits, the_oldest_goes_first)
{
    int fds[4];
    char c;

    open_with(3, 60000);
    for (size_t i = 0; i < 3; i++) {
        fds[i] = client();
        wait_for_connections((unsigned)i + 1);
    }
    fds[3] = client();
    wait_for_end(fds[0]);
    cr_expect_eq(http_server_connections(server), 3);
    for (size_t i = 1; i < 4; i++) {
        cr_expect_eq(recv(fds[i], &c, 1, 0), -1);
        cr_expect_eq(errno, EAGAIN);
    }
}

Test(http_limits, who_is_ready_is_answered_before_the_oldest_goes)
{
    static const char request[] = "GET / HTTP/1.1" HOST "\r\n";
    int fds[3], more[3];

    open_with(ARRAY_SIZE(fds), 60000);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = client();
    wait_for_connections(ARRAY_SIZE(fds));
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        send(fds[i], request, sizeof(request) - 1, MSG_NOSIGNAL);
        more[i] = client();
    }
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        CLEANUP_BUF struct buf answer = BUF_INIT;

        converse(fds[i], NULL, 0, &answer);
        cr_expect_eq(status_of(&answer), 200);
        cr_expect_eq(recv(more[i], &(char){0}, 1, 0), -1);
    }
}

/* Half a request, and after it the end of what the client sends. */
Test(http_limits, the_deadline_ends_slow_connections)
{
    int quiet, trickling, half;
    int64_t begin_ms;

    open_with(CONNECTIONS, 100);
    begin_ms = clock_ms();
    quiet = client();
    half = client();
    send(half, "GET / HT", 8, MSG_NOSIGNAL);
    shutdown(half, SHUT_WR);
    trickling = client();
    while (send(trickling, "G", 1, MSG_NOSIGNAL) == 1 && clock_ms() < begin_ms + PATIENCE_MS)
        step();
    cr_expect_geq(clock_ms() - begin_ms, 100);
    wait_for_end(quiet);
    wait_for_end(half);
    wait_for_connections(0);
    cr_expect(idle());
}

Test(http_limits, the_deadline_holds_for_the_answer_too)
{
    int fd;

    big_body = 16000000;
    open_with(CONNECTIONS, 100);
    fd = client();
    send(fd, "GET / HTTP/1.0\r\n\r\n", 18, MSG_NOSIGNAL);
    wait_for_connections(1);
    wait_for_connections(0);
    cr_expect_eq(requests, 1);
    cr_expect(idle());
    close(fd);
}

Test(http_limits, waiting_does_not_turn_the_loop)
{
    CLEANUP_BUF struct buf arguments = BUF_INIT;
    int fds[4];

    big_body = 16000000;
    open_with(CONNECTIONS, 60000);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = client();
    send(fds[0], "GET / HT", 8, MSG_NOSIGNAL);
    send(fds[1], "GET / HTTP/1.0\r\n\r\n", 18, MSG_NOSIGNAL); /* does not read the answer */
    shutdown(fds[2], SHUT_WR);
    buf_puts(&arguments, "GET /?"); /* more than the library can hold */
    for (int i = 0; i < 500; i++)
        buf_puts(&arguments, "&a");
    buf_puts(&arguments, " HTTP/1.1" HOST "\r\n");
    send(fds[3], arguments.data, arguments.len, MSG_NOSIGNAL);
    for (int i = 0; i < 100; i++)
        step();
    cr_expect_gt(http_server_connections(server), 0);
    cr_expect_lt(turns(), 10);
}

/* Fills the table of descriptors up. Returns how many it took. */
static size_t fill_descriptors(int *fds, size_t max)
{
    struct rlimit limit;
    size_t n = 0;

    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    while (n < max && (fds[n] = dup(STDERR_FILENO)) >= 0)
        n++;
    cr_assert_eq(errno, EMFILE);
    return n;
}

Test(http_limits, without_descriptors_new_connections_are_refused)
{
    int fds[64], clients[5];
    size_t n;

    open_with(CONNECTIONS, 60000);
    for (size_t i = 0; i < ARRAY_SIZE(clients); i++)
        clients[i] = client();
    n = fill_descriptors(fds, ARRAY_SIZE(fds));
    for (size_t i = 0; i < ARRAY_SIZE(clients); i++)
        wait_for_end(clients[i]);
    cr_expect_lt(turns(), 10);
    while (n > 0)
        close(fds[--n]);
    cr_expect_eq(status_to("GET / HTTP/1.1" HOST "\r\n"), 200);
}

Test(http_limits, without_descriptors_the_oldest_makes_room)
{
    CLEANUP_BUF struct buf answer = BUF_INIT;
    static const char request[] = "GET / HTTP/1.1" HOST "\r\n";
    int fds[64], slow, good;

    open_with(CONNECTIONS, 60000);
    slow = client();
    wait_for_connections(1);
    good = client();
    fill_descriptors(fds, ARRAY_SIZE(fds));
    wait_for_end(slow);
    for (int i = 0; i < 10; i++) /* nobody else comes: it may take its time */
        step();
    converse(good, request, sizeof(request) - 1, &answer);
    cr_expect_eq(status_of(&answer), 200);
}

/* accept(2) fails again and again on a socket that does not listen any more. */
Test(http_limits, a_broken_listening_socket_does_not_turn_the_loop)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    open_on(fd, CONNECTIONS, 60000);
    cr_assert_eq(shutdown(fd, SHUT_RDWR), 0);
    cr_expect_lt(turns(), 10);
    cr_assert_eq(listen(fd, 16), 0);
    address_len = sizeof(address);
    getsockname(fd, (struct sockaddr *)&address, &address_len);
    cr_expect_eq(status_to("GET / HTTP/1.1" HOST "\r\n"), 200, "it is tried again");
}

Test(http_limits, serves_a_unix_socket)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    char dir[] = "/tmp/http_server.XXXXXX";
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    cr_assert(mkdtemp(dir));
    snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", dir);
    cr_assert_eq(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    open_on(fd, CONNECTIONS, 60000);
    cr_expect_eq(status_to("GET / HTTP/1.1" HOST "\r\n"), 200);
    unlink(un.sun_path);
    rmdir(dir);
}
