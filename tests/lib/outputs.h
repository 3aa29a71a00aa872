/* For unit tests: pipes in the place of stdout and stderr, and what came out of them. */
#ifndef PREFORKD_TESTS_OUTPUTS_H
#define PREFORKD_TESTS_OUTPUTS_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

#include "base/buf.h"

/* Makes a pipe the standard stream `fd` and returns its end for reading. */
static UNUSED int use_pipe_as(int fd)
{
    int fds[2];

    signal(SIGPIPE, SIG_IGN);
    cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
    cr_assert_eq(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    cr_assert_eq(dup2(fds[1], fd), fd);
    close(fds[1]);
    return fds[0];
}

/* Appends what has come. */
static UNUSED void receive(int fd, struct buf *text)
{
    char chunk[65536];

    for (ssize_t n; (n = read(fd, chunk, sizeof(chunk))) > 0;)
        buf_append(text, chunk, (size_t)n);
}

static UNUSED void expect_received(int fd, const char *expected)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    receive(fd, &text);
    cr_expect_str_eq(buf_str(&text), expected, "'%s' instead of '%s'", buf_str(&text), expected);
}

/* "LETTER NUMBER xxx...\n": lines that tell whether one was torn or is missing. */
static UNUSED void put_numbered(struct buf *out, char letter, unsigned number)
{
    buf_printf(out, "%c %u %.*s\n", letter, number, (int)(number * 7 % 90),
               "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
               "xxxxxxxx");
}

/* Checks that whole lines have come, those of each letter in order; returns how many of `letter`.
 */
static UNUSED unsigned count_numbered(const struct buf *text, char letter)
{
    unsigned next[128] = {0}, count = 0;

    for (const char *line = buf_str(text); *line; line = strchr(line, '\n') + 1) {
        CLEANUP_BUF struct buf whole = BUF_INIT;
        char found = *line;
        unsigned number = (unsigned)strtoul(line + strlen("a "), NULL, 10);

        cr_assert_gt(found, 0);
        cr_assert(strchr(line, '\n'), "a line without end: %s", line);
        put_numbered(&whole, found, number);
        cr_assert(str_after(line, buf_str(&whole)), "torn: %.100s", line);
        cr_assert_geq(number, next[(int)found], "out of order: %.100s", line);
        next[(int)found] = number + 1;
        count += found == letter;
    }
    return count;
}

#endif
