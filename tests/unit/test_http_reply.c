#include "http_fixture.h"

TestSuite(http_requests, .init = set_up, .fini = tear_down, .timeout = 60);

/* --- Requests --- */

Test(http_requests, answers_with_headers_and_body_and_closes)
{
    CLEANUP_BUF struct buf answer = BUF_INIT;
    static const char *const wanted[] = {
        "HTTP/1.1 200 OK\r\n",
        "\r\nConnection: close\r\n",
        "\r\nContent-Length: 6\r\n",
        "\r\nContent-Type: text/plain; charset=utf-8\r\n",
        "\r\n\r\nhello\n",
        "\r\nX-Content-Type-Options: nosniff\r\n",
        "\r\nCache-Control: no-store\r\n",
    };

    ask("GET / HTTP/1.1" HOST "\r\n", &answer);
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
        cr_expect(strstr(buf_str(&answer), wanted[i]), "no %s", wanted[i]);
    cr_expect_str_eq(last_method, "GET");
}

Test(http_requests, head_has_the_length_but_no_body)
{
    CLEANUP_BUF struct buf answer = BUF_INIT;

    ask("HEAD / HTTP/1.1" HOST "\r\n", &answer);
    cr_expect_eq(status_of(&answer), 200);
    cr_expect(strstr(buf_str(&answer), "\r\nContent-Length: 6\r\n"));
    cr_expect_str_eq(buf_str(&answer) + answer.len - 4, "\r\n\r\n");
    cr_expect_str_eq(last_method, "HEAD");
}

Test(http_requests, other_methods_are_told_what_is_allowed)
{
    static const char *const methods[] = {"POST", "PUT", "DELETE", "OPTIONS", "get", "TRACE"};

    for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
        CLEANUP_BUF struct buf answer = BUF_INIT;
        CLEANUP_BUF struct buf request = BUF_INIT;

        buf_printf(&request, "%s / HTTP/1.1" HOST "Content-Length: 5\r\n\r\nhello", methods[i]);
        ask(buf_str(&request), &answer);
        cr_expect_eq(status_of(&answer), 405, "%s", methods[i]);
        cr_expect(strstr(buf_str(&answer), "\r\nAllow: GET, HEAD\r\n"));
    }
    cr_expect_eq(requests, 0);
}

/* One request, one answer, one connection; the path as it was sent. */
static const struct {
    const char *request;
    size_t len; /* 0: a string */
    int status; /* 0: none */
    const char *path;
} cases[] = {
    {"GET / HTTP/1.0\r\n\r\n", 0, 200, "/"},
    {"GET / HTTP/1.1\nHost: a\n\n", 0, 200, "/"},
    {"\r\n\r\nGET / HTTP/1.1" HOST "\r\n", 0, 200, "/"},
    {"GET /? HTTP/1.1" HOST "\r\n", 0, 200, "/"},
    {"GET //stream HTTP/1.1" HOST "\r\n", 0, 404, ""},
    {"GET //costly HTTP/1.1" HOST "\r\n", 0, 404, ""},
    {"GET /cos%74ly HTTP/1.1" HOST "\r\n", 0, 404, ""},
    {"GET /costly/ HTTP/1.1" HOST "\r\n", 0, 404, ""},
    {"POST /nothing HTTP/1.1" HOST "\r\n", 0, 404, ""},
    {"GET /%2e%00 HTTP/1.1" HOST "\r\n", 0, 404, ""},
    {"GET /a b HTTP/1.1" HOST "\r\n", 0, 404, ""},
    {"GET http://a/ HTTP/1.1" HOST "\r\n", 0, 404, ""},
    {"GET / HTTP/1.1" HOST "Content-Length: 5\r\n\r\nhello", 0, 200, "/"},
    {"GET / HTTP/1.1" HOST "Content-Length: 500000000\r\n\r\nhello", 0, 200, "/"},
    {"GET / HTTP/1.1" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 0, 200,
     "/"},
    {"GET / HTTP/1.1" HOST "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 0, 200, "/"},
    {"GET / HTTP/1.1" HOST "Expect: 100-continue\r\n\r\n", 0, 200, "/"},
    {"GET / HTTP/1.1" HOST "\r\nGET /two HTTP/1.1" HOST "\r\n", 0, 200, "/"},
    {"POST / HTTP/1.1" HOST "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", 0, 405, ""},
    {"POST / HTTP/1.1" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 0, 405,
     ""},
    {"GET / HTTP/1.1" HOST "Content-Length: -5\r\n\r\nhello", 0, 400, ""},
    {"GET / HTTP/1.1" HOST "Content-Length: 99999999999999999999999\r\n\r\n", 0, 413, ""},
    {"GET /\r\n\r\n", 0, 400, ""},
    {"GET / HTTP/1.1 x" HOST "\r\n", 0, 400, ""},
    {"GET / HTTP/1.1" HOST "no colon\r\n\r\n", 0, 400, ""},
    {"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 29, 200, "/"},
    {"GET / HTTP/1.1\r\nX\0: b\r\n\r\n", 25, 400, ""},
    {"GET / HTTP/9.1" HOST "\r\n", 0, 505, ""},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0", 32, 505, ""},
    {"GET\r\n\r\n", 0, 0, ""},
    {"\x16\x03\x01\x02\0\1\0\1\xfc\3\3\xff\xfe z\r\n\r\n", 19, 400, ""},
};

Test(http_requests, hostile_requests_get_one_answer_at_most)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CLEANUP_BUF struct buf answer = BUF_INIT;
        size_t len = cases[i].len ? cases[i].len : strlen(cases[i].request);
        bool handled = cases[i].path[0];

        requests = 0;
        last_path[0] = '\0';
        ask_bytes(cases[i].request, len, &answer);
        cr_expect_eq(status_of(&answer), cases[i].status, "%s: %s", cases[i].request,
                     buf_str(&answer));
        cr_expect_str_eq(last_path, cases[i].path);
        cr_expect_eq(requests, handled, "%s: %u requests", cases[i].request, requests);
        cr_expect_not(strstr(buf_str(&answer), "100 Continue"));
    }
    cr_expect_eq(http_server_connections(server), 0);
}

Test(http_requests, a_nul_does_not_lengthen_the_path)
{
    static const char request[] = "GET /\0/../x HTTP/1.1" HOST "\r\n";
    CLEANUP_BUF struct buf answer = BUF_INIT;

    ask_bytes(request, sizeof(request) - 1, &answer);
    cr_expect_str_eq(last_path, "/");
}

static int status_of_filled(const char *begin, char fill, size_t len, const char *end)
{
    CLEANUP_BUF struct buf request = BUF_INIT;
    CLEANUP_BUF struct buf answer = BUF_INIT;

    buf_puts(&request, begin);
    for (size_t i = 0; i < len; i++)
        buf_putc(&request, fill);
    buf_puts(&request, end);
    ask_bytes(buf_str(&request), request.len, &answer);
    return status_of(&answer);
}

Test(http_requests, what_is_too_large_is_refused)
{
    cr_expect_eq(status_of_filled("GET /", 'a', 4000, " HTTP/1.1" HOST "\r\n"), 404);
    cr_expect_eq(status_of_filled("GET / HTTP/1.1" HOST "X: ", 'a', 4000, "\r\n\r\n"), 200);
    cr_expect_eq(status_of_filled("GET /", 'a', 10000, " HTTP/1.1" HOST "\r\n"), 414);
    cr_expect_eq(status_of_filled("GET /", 'a', 1000000, " HTTP/1.1" HOST "\r\n"), 414);
    cr_expect_eq(status_of_filled("GET / HTTP/1.1" HOST "X: ", 'a', 10000, "\r\n\r\n"), 431);
    cr_expect_eq(status_of_filled("GET / HTTP/1.1" HOST "X: ", 'a', 1000000, "\r\n\r\n"), 431);
    cr_expect_eq(status_of_filled("", 'a', 1000000, ""), 414);
    cr_expect_eq(status_of_filled("", '\n', 1000000, ""), 414);
    cr_expect_eq(status_of_filled("GET / HTTP/1.1" HOST, '\xff', 1000000, ""), 431);
}

Test(http_requests, verbose_is_a_key_of_the_query)
{
    static const struct {
        const char *target;
        bool verbose;
    } targets[] = {{"/?verbose", true},   {"/?verbose=0", true}, {"/?a=b&verbose=1", true},
                   {"/?averbose", false}, {"/?verbosee", false}, {"/?a=verbose", false},
                   {"/verbose", false},   {"/", false}};

    for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
        CLEANUP_BUF struct buf request = BUF_INIT;

        buf_printf(&request, "GET %s HTTP/1.1" HOST "\r\n", targets[i].target);
        status_to(buf_str(&request));
        cr_expect_eq(verbose_result != 0, targets[i].verbose, "%s", targets[i].target);
    }
}

Test(http_requests, arguments_are_decoded)
{
    static const struct {
        const char *query;
        int result;
        const char *value;
    } queries[] = {
        {"?verbose=a%20b", 1, "a b"},
        {"?verbose=%2B1", 1, "+1"},
        {"?verbose=%2b%41", 1, "+A"},
        {"?verbose", 1, ""},
        {"?verbose=", 1, ""},
        {"?x=1&verbose=yes", 1, "yes"},
        {"?verbose=1234567", 1, "1234567"},
        {"?verbose=12345678", -EINVAL, NULL},
        {"?verbose=%00", -EINVAL, NULL},
        {"?verbose=%", -EINVAL, NULL},
        {"?verbose=%4", -EINVAL, NULL},
        {"?verbose=%4g", -EINVAL, NULL},
        {"?verbose=%g4", -EINVAL, NULL},
        {"?other=1", 0, NULL},
    };

    for (size_t i = 0; i < ARRAY_SIZE(queries); i++) {
        CLEANUP_BUF struct buf request = BUF_INIT;

        buf_printf(&request, "GET /%s HTTP/1.1" HOST "\r\n", queries[i].query);
        cr_expect_eq(status_to(buf_str(&request)), 200);
        cr_expect_eq(verbose_result, queries[i].result, "%s: %d", queries[i].query, verbose_result);
        if (queries[i].value)
            cr_expect_str_eq(last_verbose, queries[i].value);
    }
}

Test(http_requests, each_route_has_its_methods)
{
    CLEANUP_BUF struct buf answer = BUF_INIT;

    ask("GET /stream HTTP/1.1" HOST "\r\n", &answer);
    cr_expect_eq(status_of(&answer), 405);
    cr_expect(strstr(buf_str(&answer), "\r\nAllow: POST\r\n"));
    cr_expect(strstr(buf_str(&answer), "\r\n\r\nmethod not allowed\n"));
    cr_expect_eq(status_to("HEAD /stream HTTP/1.1" HOST "\r\n"), 405);
    cr_expect_eq(status_to("POST /costly HTTP/1.1" HOST "\r\n"), 405);
}

Test(http_requests, a_costly_answer_is_given_again)
{
    CLEANUP_BUF struct buf first = BUF_INIT;
    CLEANUP_BUF struct buf second = BUF_INIT;
    int fd = client(); /* the answer is kept as long as somebody is there */

    wait_for_connections(1);
    ask("GET /costly HTTP/1.1" HOST "\r\n", &first);
    ask("GET /costly HTTP/1.1" HOST "\r\n", &second);
    cr_expect_str_eq(buf_str(&first), buf_str(&second));
    cr_expect_eq(requests, 1);
    close(fd);
    wait_for_connections(0);
    cr_expect_eq(status_to("HEAD /costly HTTP/1.1" HOST "\r\n"), 200);
    cr_expect_eq(requests, 2);
}

Test(http_requests, who_is_not_admitted_is_told_and_gets_no_place)
{
    CLEANUP_BUF struct buf answer = BUF_INIT;
    unsigned before = descriptors();
    int fd;

    is_admitted = false;
    fd = client();
    converse(fd, "", 0, &answer);
    close(fd);
    cr_expect_eq(status_of(&answer), 403);
    cr_expect_eq(http_server_connections(server), 0);
    cr_expect_eq(descriptors(), before);
    is_admitted = true;
    cr_expect_eq(status_to("GET / HTTP/1.1" HOST "\r\n"), 200);
}

Test(http_requests, one_byte_at_a_time)
{
    static const char request[] = "GET /?verbose HTTP/1.1" HOST "\r\n";
    CLEANUP_BUF struct buf answer = BUF_INIT;
    int fd = client();

    for (size_t i = 0; i < sizeof(request) - 1; i++) {
        cr_assert_eq(send(fd, request + i, 1, MSG_NOSIGNAL), 1);
        step();
    }
    converse(fd, NULL, 0, &answer);
    cr_expect_eq(status_of(&answer), 200);
    cr_expect(strstr(buf_str(&answer), "\r\n\r\nverbose\n"));
    close(fd);
}

Test(http_requests, a_client_that_has_shut_its_side_is_answered)
{
    static const char request[] = "GET / HTTP/1.1" HOST "\r\n";
    CLEANUP_BUF struct buf answer = BUF_INIT;
    int fd = client();

    send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    converse(fd, NULL, 0, &answer);
    cr_expect_eq(status_of(&answer), 200);
    close(fd);
}

Test(http_requests, a_long_answer_arrives_whole)
{
    CLEANUP_BUF struct buf answer = BUF_INIT;

    big_body = 4000000;
    ask("GET / HTTP/1.1" HOST "\r\n", &answer);
    cr_expect_gt(answer.len, big_body);
    cr_expect_eq(answer.data[answer.len - 1], 'x');
}

Test(http_requests, clients_that_reset_leave_nothing)
{
    for (int i = 0; i < 100; i++) {
        int fd = client();

        send(fd, "GET / HT", (size_t)(i % 9), MSG_NOSIGNAL);
        if (i % 2)
            step();
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
        close(fd);
        ev_run(loop, EVRUN_NOWAIT);
    }
    wait_for_connections(0);
    cr_expect_eq(status_to("GET / HTTP/1.1" HOST "\r\n"), 200);
    cr_expect(idle());
}

Test(http_requests, descriptors_and_the_timer_go_with_the_connections)
{
    unsigned before = descriptors();
    int fd;

    cr_expect(idle());
    for (int i = 0; i < 50; i++)
        cr_expect_eq(status_to("GET / HTTP/1.1" HOST "\r\n"), 200);
    cr_expect_eq(descriptors(), before);
    cr_expect(idle());
    fd = client();
    wait_for_connections(1);
    cr_expect_not(idle(), "the deadline has a timer");
    close(fd);
    wait_for_connections(0);
    cr_expect(idle());
    cr_expect_eq(descriptors(), before);
}

/* --- Streams --- */

TestSuite(http_streams, .init = set_up, .fini = tear_down, .timeout = 60);

Test(http_streams, pieces_arrive_when_they_are_pushed)
{
    int fd = open_stream();

    wait_for_text(fd, "\r\n\r\n");
    http_stream_push(stream, "one\n", 4);
    wait_for_text(fd, "one\n");
    http_stream_push(stream, "two\n", 4);
    http_stream_push(stream, "three\n", 6);
    wait_for_text(fd, "two\nthree\n");
    http_stream_push(stream, "four\n", 5);
    http_stream_end(stream);
    wait_for_text(fd, "0\r\n\r\n");
    wait_for_connections(0);
    cr_expect_eq(gone, 0);
    cr_expect(idle());
    close(fd);
}

Test(http_streams, no_timer_runs_while_nothing_is_said)
{
    wait_for_text(open_stream(), "\r\n\r\n");
    cr_expect_leq(turns(), 3);
}

Test(http_streams, a_client_that_goes_is_noticed)
{
    unsigned before = descriptors();

    for (int i = 0; i < 20; i++) {
        int fd = open_stream();

        close(fd);
        wait_for_connections(0);
    }
    cr_expect_eq(gone, 20);
    cr_expect_eq(descriptors(), before);
    cr_expect(idle());
}

Test(http_streams, a_client_that_says_more_is_borne)
{
    int fd = open_stream();

    wait_for_text(fd, "\r\n\r\n");
    for (int i = 0; i < 10; i++) {
        send(fd, "more", 4, MSG_NOSIGNAL);
        step();
    }
    cr_expect_leq(turns(), 5);
    http_stream_push(stream, "one\n", 4);
    wait_for_text(fd, "one\n");
    close(fd);
}

Test(http_streams, a_reader_that_never_reads_is_put_out)
{
    char line[1000];
    int fd = open_stream();
    unsigned pushed = 0;

    memset(line, 'x', sizeof(line));
    for (int64_t until = clock_ms() + PATIENCE_MS; !gone && clock_ms() < until; pushed++) {
        http_stream_push(stream, line, sizeof(line));
        ev_run(loop, EVRUN_NOWAIT);
    }
    cr_expect_eq(gone, 1);
    cr_expect_lt(pushed, 100000, "%u pieces", pushed);
    wait_for_connections(0);
    close(fd);
}

Test(http_streams, the_end_has_a_deadline)
{
    char line[1000] = "";
    int fd;

    config.deadline_ms = 100;
    fd = open_stream();
    for (int i = 0; i < 90; i++) {
        http_stream_push(stream, line, sizeof(line));
        ev_run(loop, EVRUN_NOWAIT);
    }
    http_stream_end(stream);
    wait_for_connections(0);
    cr_expect_eq(gone, 0);
    close(fd);
}

Test(http_streams, they_are_bounded_and_leave_room)
{
    int fds[3];

    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = open_stream();
    cr_expect_eq(status_to("POST /stream HTTP/1.1" HOST "\r\n"), 503);
    for (int i = 0; i < 50; i++)
        client();
    cr_expect_eq(status_to("GET / HTTP/1.1" HOST "\r\n"), 200);
    cr_expect_eq(gone, 0, "streams are not put out for others");
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
}

Test(http_streams, close_ends_them)
{
    unsigned before = descriptors();
    int fd = open_stream();

    http_server_close(server);
    server = NULL;
    cr_expect_eq(gone, 1);
    cr_expect_not(ev_run(loop, EVRUN_NOWAIT), "a timer runs on");
    wait_for_end(fd);
    close(fd);
    cr_expect_leq(descriptors(), before);
}

Test(http_streams, flush_brings_the_last_line_out)
{
    int fd = open_stream();

    http_stream_push(stream, "last\n", 5);
    http_stream_end(stream);
    http_server_flush(server);
    http_server_close(server);
    server = NULL;
    wait_for_text(fd, "last\n\r\n0\r\n\r\n");
    close(fd);
}
