#include "base/log.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/buf.h"

#define STAMP "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z"

enum { NOBODY_UID = 65534, LINE_MAX_BYTES = 4096, PATIENCE_MS = 10000 };

static const struct log_who *const web3 = &(const struct log_who){"web", 3, 1234};

/* --- Tools --- */

/* Makes `fd` the standard error that the log finds, and takes it. */
static void use_stderr(int fd)
{
    cr_assert_geq(fd, 0);
    cr_assert_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
    close(fd);
    log_close();
}

/* Makes a pipe the standard error and returns its end for reading. */
static int use_pipe(void)
{
    int fds[2];

    cr_assert_eq(pipe(fds), 0);
    cr_assert_eq(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    use_stderr(fds[1]);
    return fds[0];
}

static int use_socket(int type)
{
    int fds[2];

    cr_assert_eq(socketpair(AF_UNIX, type, 0, fds), 0);
    cr_assert_eq(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    use_stderr(fds[1]);
    return fds[0];
}

/* Makes a terminal the standard error and returns its other side. */
static int use_terminal(void)
{
    int other = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    int terminal;

    cr_assert_geq(other, 0);
    cr_assert_eq(grantpt(other), 0);
    cr_assert_eq(unlockpt(other), 0);
    terminal = open(ptsname(other), O_RDWR | O_NOCTTY);
    use_stderr(terminal);
    return other;
}

/* What has come so far. Valid until the next call. */
static const char *received(int fd)
{
    static struct buf text;
    char chunk[4096];

    buf_free(&text);
    for (ssize_t n; (n = read(fd, chunk, sizeof(chunk))) > 0;)
        buf_append(&text, chunk, (size_t)n);
    return buf_str(&text);
}

static const char *content(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    const char *text = received(fd);

    close(fd);
    return text;
}

static bool matches(const char *text, const char *pattern)
{
    regex_t regex;
    int err = regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB);

    cr_assert_eq(err, 0);
    err = regexec(&regex, text, 0, NULL, 0);
    regfree(&regex);
    return err == 0;
}

#define expect_match(text, pattern)                                                                \
    do {                                                                                           \
        const char *text_ = (text);                                                                \
        cr_expect(matches(text_, (pattern)), "\"%s\" instead of %s", text_, (pattern));            \
    } while (0)

static int configure(enum log_level level, enum log_format format, const char *file)
{
    return log_configure(&(struct log_config){level, format, file});
}

static size_t count(const char *text, char c)
{
    size_t n = 0;

    for (; *text; text++)
        n += *text == c;
    return n;
}

static const char *in_dir(const char *name)
{
    static char dir[] = "/tmp/log.XXXXXX", paths[4][128];
    static unsigned next;
    char *path = paths[next++ % ARRAY_SIZE(paths)];

    if (strstr(dir, "XXXXXX"))
        cr_assert(mkdtemp(dir));
    snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
    return path;
}

static void tear_down(void)
{
    static const char *const names[] = {"log", "old", "fifo", ""};

    log_close();
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        remove(in_dir(names[i]));
}

static void ignore_pipe_signal(void)
{
    signal(SIGPIPE, SIG_IGN);
}

TestSuite(log, .init = ignore_pipe_signal, .fini = tear_down, .timeout = 30);

/* --- Lines --- */

Test(log, text_before_any_settings)
{
    int fd = use_pipe();

    log_info(LOG_NOBODY, "hello %d", 7);
    expect_match(received(fd), "^" STAMP " info  hello 7\n$");
    log_debug(LOG_NOBODY, "not shown");
    cr_expect_str_eq(received(fd), "");
}

Test(log, tells_who_as_far_as_it_is_known)
{
    static const struct {
        struct log_who who;
        const char *text;
    } cases[] = {
        {{"web", 3, 1234}, "^" STAMP " warn  web\\.3\\[1234\\]: text\n$"},
        {{"web", 0, 0}, "^" STAMP " warn  web\\.0: text\n$"},
        {{"web", -1, 0}, "^" STAMP " warn  web: text\n$"},
        {{NULL, -1, 12}, "^" STAMP " warn  \\[12\\]: text\n$"},
        {{"a\nb", -1, 0}, "^" STAMP " warn  a\\\\x0ab: text\n$"},
    };
    int fd = use_pipe();

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        log_warn(&cases[i].who, "text");
        expect_match(received(fd), cases[i].text);
    }
}

Test(log, json_has_what_is_known)
{
    int fd = use_pipe();

    cr_assert_eq(configure(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON, "-"), 0);
    log_error(web3, "a \"b\"\\\n\x01\xff");
    expect_match(received(fd),
                 "^\\{\"time\":\"" STAMP "\",\"level\":\"error\",\"pool\":\"web\","
                 "\"slot\":3,\"pid\":1234,"
                 "\"message\":\"a \\\\\"b\\\\\"\\\\\\\\\\\\u000a\\\\u0001\\\\ufffd\"\\}"
                 "\n$");
    log_debug(LOG_NOBODY, "x");
    expect_match(received(fd),
                 "^\\{\"time\":\"" STAMP "\",\"level\":\"debug\",\"message\":\"x\"\\}\n$");
}

Test(log, levels_filter)
{
    static const char *const shown[] = {[LOG_LEVEL_ERROR] = "e",
                                        [LOG_LEVEL_WARN] = "ew",
                                        [LOG_LEVEL_INFO] = "ewi",
                                        [LOG_LEVEL_DEBUG] = "ewid"};
    int fd = use_pipe();

    for (unsigned level = 0; level < ARRAY_SIZE(shown); level++) {
        char got[8] = "";
        size_t n = 0;

        cr_assert_eq(configure((enum log_level)level, LOG_FORMAT_TEXT, "-"), 0);
        log_error(LOG_NOBODY, "e");
        log_warn(LOG_NOBODY, "w");
        log_info(LOG_NOBODY, "i");
        log_debug(LOG_NOBODY, "d");
        for (const char *s = received(fd); (s = strchr(s, '\n')); s++)
            got[n++] = s[-1];
        cr_expect_str_eq(got, shown[level]);
        for (unsigned l = 0; l < ARRAY_SIZE(shown); l++)
            cr_expect_eq(log_enabled((enum log_level)l), l <= level);
    }
}

Test(log, a_message_stays_on_its_line)
{
    int fd = use_pipe();

    log_info(LOG_NOBODY, "%s", "a\nb\r\x1b[2J\x7f\\ gr\xc3\xbc\xc3\x9f \xff");
    expect_match(received(fd),
                 "info  a\\\\x0ab\\\\x0d\\\\x1b\\[2J\\\\x7f\\\\x5c gr\xc3\xbc\xc3\x9f "
                 "\\\\xff\n$");
}

Test(log, keeps_errno)
{
    int fd = use_pipe();

    errno = E2BIG;
    log_info(LOG_NOBODY, "%m");
    cr_expect_eq(errno, E2BIG);
    expect_match(received(fd), "Argument list too long\n$");
    close(fd);
    errno = E2BIG;
    log_info(LOG_NOBODY, "nobody reads");
    cr_expect_eq(errno, E2BIG);
}

static char *repeated(const char *unit, size_t times)
{
    struct buf text = BUF_INIT;

    while (times-- > 0)
        buf_puts(&text, unit);
    return buf_take(&text);
}

/* Writes a message of `times` units; the line fits, is one, and ends as told. */
static void expect_cut(int fd, const char *begin, const char *unit, size_t times, const char *end)
{
    CLEANUP_FREE char *message = repeated(unit, times);
    const char *line;

    log_info(web3, "%s%s", begin, message);
    line = received(fd);
    cr_expect_leq(strlen(line), LINE_MAX_BYTES);
    cr_expect_gt(strlen(line), 3900, "no more is cut than is needed: %zu", strlen(line));
    cr_expect_eq(count(line, '\n'), 1);
    cr_expect(matches(line, end), "...%s", line + strlen(line) - 30);
}

Test(log, long_messages_are_cut)
{
    int fd = use_pipe();

    for (int json = 0; json <= 1; json++) {
        cr_assert_eq(configure(LOG_LEVEL_INFO, json ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT, "-"), 0);
        expect_cut(fd, "", "x", 5000, json ? "xx\\.\\.\\.\"\\}\n$" : "xx\\.\\.\\.\n$");
        expect_cut(fd, "", "\xc3\xbc", 2500, "\xc3\xbc\\.\\.\\.[\"}]*\n$");
        expect_cut(fd, "y", "\xc3\xbc", 2500, "\xc3\xbc\\.\\.\\.[\"}]*\n$");
        expect_cut(fd, "", "\x01", 4000,
                   json ? "\\\\u0001\\.\\.\\.\"\\}\n$" : "\\\\x01\\.\\.\\.\n$");
        expect_cut(fd, "", "\xff", 5000,
                   json ? "\\\\ufffd\\.\\.\\.\"\\}\n$" : "\\\\xff\\.\\.\\.\n$");
    }
}

Test(log, what_fits_is_not_cut)
{
    CLEANUP_FREE char *message = repeated("x", 4000);
    int fd = use_pipe();

    log_info(web3, "%s", message);
    expect_match(received(fd), ": x+\n$");
    log_info(web3, "%sx", message);
    expect_match(received(fd), ": x+\\.\\.\\.\n$");
}

/* --- Losses --- */

/* Fills a pipe or socket up through a description of its own, or with MSG_DONTWAIT. */
static void fill(bool is_socket)
{
    int fd = is_socket ? dup(STDERR_FILENO) : open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK);
    char page[4096] = "";

    cr_assert_geq(fd, 0);
    for (size_t len = sizeof(page); len > 0; len /= 2)
        while ((is_socket ? send(fd, page, len, MSG_DONTWAIT) : write(fd, page, len)) > 0)
            ;
    cr_assert_eq(errno, EAGAIN);
    close(fd);
}

static void expect_losses_told(int fd)
{
    int flags = fcntl(STDERR_FILENO, F_GETFL);

    cr_expect_not(flags & O_NONBLOCK);
    for (int i = 0; i < 3; i++)
        log_info(web3, "lost");
    cr_expect_eq(log_dropped(), 3);
    received(fd);
    log_info(web3, "kept");
    expect_match(received(fd), "^" STAMP " warn  3 log lines were lost\n" STAMP
                               " info  web\\.3\\[1234\\]: kept\n$");
    log_info(web3, "kept");
    cr_expect_eq(count(received(fd), '\n'), 1, "they are told once");
    cr_expect_eq(log_dropped(), 3);
    cr_expect_eq(fcntl(STDERR_FILENO, F_GETFL), flags, "the flags are not ours");
}

Test(log, a_full_pipe_loses_lines)
{
    int fd = use_pipe();

    fill(false);
    expect_losses_told(fd);
}

Test(log, a_full_socket_loses_lines)
{
    int fd = use_socket(SOCK_STREAM);

    fill(true);
    expect_losses_told(fd);
}

Test(log, a_full_datagram_socket_loses_lines)
{
    int fd = use_socket(SOCK_DGRAM);

    fill(true);
    expect_losses_told(fd);
}

Test(log, losses_are_told_at_any_level)
{
    int fd = use_pipe();

    cr_assert_eq(configure(LOG_LEVEL_ERROR, LOG_FORMAT_JSON, "-"), 0);
    fill(false);
    log_error(web3, "lost");
    received(fd);
    log_info(web3, "not of this level");
    cr_expect_str_eq(received(fd), "");
    log_error(web3, "kept");
    expect_match(received(fd),
                 "\"level\":\"warn\",\"message\":\"1 log lines were lost\"\\}\n.*kept");
}

Test(log, lines_go_into_a_pipe_whole_or_not_at_all)
{
    CLEANUP_FREE char *message = repeated("x", 4000);
    int fd = use_pipe();
    const char *text;
    size_t lines;

    for (int i = 0; i < 100; i++)
        log_info(web3, "%s", message);
    cr_expect_gt(log_dropped(), 0);
    text = received(fd);
    lines = count(text, '\n');
    cr_expect_eq(lines + log_dropped(), 100);
    cr_expect_eq(count(text, ':'), 3 * lines);
    cr_expect_eq(text[strlen(text) - 1], '\n');
}

Test(log, survives_a_reader_that_is_gone)
{
    close(use_pipe());
    log_info(web3, "lost");
    cr_expect_eq(log_dropped(), 1);
    signal(SIGPIPE, SIG_DFL);
    close(use_socket(SOCK_STREAM));
    log_info(web3, "lost");
    cr_expect_eq(log_dropped(), 1);
}

Test(log, survives_a_closed_stderr)
{
    int fds[2];

    close(STDERR_FILENO);
    log_close();
    log_info(web3, "lost");
    cr_expect_eq(log_dropped(), 1);
    cr_assert_eq(pipe(fds), 0);
    cr_assert(fds[0] == STDERR_FILENO || dup2(fds[1], STDERR_FILENO) == STDERR_FILENO);
    log_info(web3, "not for who has the number now");
    cr_expect_eq(log_dropped(), 2);
}

/* Another user may not open what stderr is again; the description is shared and blocks. */
static void become_nobody(void)
{
    if (getuid() != 0)
        cr_skip_test("only root can become another user");
    cr_assert_eq(setresgid(NOBODY_UID, NOBODY_UID, NOBODY_UID), 0);
    cr_assert_eq(setresuid(NOBODY_UID, NOBODY_UID, NOBODY_UID), 0);
    cr_assert_eq(open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK), -1);
    cr_assert_eq(errno, EACCES);
}

Test(log, a_full_pipe_that_cannot_be_opened_again)
{
    int fd = use_pipe();

    fill(false);
    become_nobody();
    expect_losses_told(fd);
}

/* Writes more lines of this length than the terminal takes. */
static void expect_terminal_never_waits(int other, int len)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    bool told = false;

    log_info(LOG_NOBODY, "first");
    expect_match(received(other), "^" STAMP " info  first\r\n$");
    for (int i = 0; i < 1000; i++)
        log_info(LOG_NOBODY, "%0*d", len, 0);
    cr_expect_gt(log_dropped(), 0);
    for (int i = 0; i < PATIENCE_MS && !told; i++) {
        log_info(LOG_NOBODY, "after");
        poll(NULL, 0, 1);
        buf_puts(&text, received(other));
        told = matches(buf_str(&text), "[0-9]+ log lines were lost\r\n.*" STAMP " info  after\r\n");
    }
    cr_expect(told);
}

Test(log, a_terminal_that_nobody_reads)
{
    expect_terminal_never_waits(use_terminal(), 20);
}

static int use_terminal_of_another(void)
{
    int other = use_terminal();

    cr_assert_eq(fchmod(STDERR_FILENO, 0600), 0);
    become_nobody();
    return other;
}

Test(log, short_lines_to_a_terminal_that_cannot_be_opened_again)
{
    expect_terminal_never_waits(use_terminal_of_another(), 20);
}

Test(log, long_lines_to_a_terminal_that_cannot_be_opened_again)
{
    expect_terminal_never_waits(use_terminal_of_another(), 3000);
}

/* --- Files --- */

/* Workers write to the same description, at its offset. */
Test(log, shares_the_offset_of_a_file_on_stderr)
{
    const char *path = in_dir("log");

    use_stderr(open(path, O_WRONLY | O_CREAT, 0600));
    cr_assert_eq(write(STDERR_FILENO, "worker\n", 7), 7);
    log_info(LOG_NOBODY, "master");
    cr_assert_eq(write(STDERR_FILENO, "worker\n", 7), 7);
    log_info(LOG_NOBODY, "master");
    expect_match(content(path), "^worker\n[^\n]*master\nworker\n[^\n]*master\n$");
}

Test(log, goes_on_after_a_rename)
{
    const char *path = in_dir("log"), *old = in_dir("old");
    struct stat st;

    umask(0);
    use_pipe();
    cr_assert_eq(configure(LOG_LEVEL_INFO, LOG_FORMAT_AUTO, path), 0);
    cr_assert_eq(stat(path, &st), 0);
    cr_expect_eq(st.st_mode & 07777, 0640);
    log_info(LOG_NOBODY, "one");
    cr_assert_eq(rename(path, old), 0);
    log_info(LOG_NOBODY, "two");
    cr_assert_eq(configure(LOG_LEVEL_INFO, LOG_FORMAT_AUTO, path), 0);
    log_info(LOG_NOBODY, "unchanged settings open nothing");
    cr_assert_eq(log_reopen(), 0);
    log_info(LOG_NOBODY, "four");
    cr_expect_eq(count(content(old), '\n'), 3);
    expect_match(content(path), "^" STAMP " info  four\n$");
}

Test(log, appends_and_follows_a_symbolic_link)
{
    const char *path = in_dir("log"), *real = in_dir("old");

    cr_assert_eq(close(open(real, O_WRONLY | O_CREAT, 0600)), 0);
    cr_assert_eq(truncate(real, 1), 0);
    cr_assert_eq(symlink(real, path), 0);
    use_pipe();
    cr_assert_eq(configure(LOG_LEVEL_INFO, LOG_FORMAT_AUTO, path), 0);
    log_info(LOG_NOBODY, "text");
    cr_assert_eq(truncate(real, 0), 0);
    log_info(LOG_NOBODY, "after copy and truncate");
    expect_match(content(real), "^" STAMP " info  after copy and truncate\n$");
}

Test(log, a_failure_leaves_the_log_as_it_was)
{
    const char *path;
    int fd = use_pipe();

    cr_assert_eq(mkfifo(in_dir("fifo"), 0600), 0);
    cr_expect_eq(configure(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON, in_dir("none/log")), -ENOENT);
    cr_expect_eq(configure(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON, in_dir("")), -EISDIR);
    cr_expect_eq(configure(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON, in_dir("fifo")), -ENXIO);
    log_debug(LOG_NOBODY, "the level is the old one");
    log_info(LOG_NOBODY, "still here");
    expect_match(received(fd), "^" STAMP " info  still here\n$");

    path = in_dir("log");
    cr_assert_eq(configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, path), 0);
    cr_assert_eq(rename(path, in_dir("old")), 0);
    cr_assert_eq(mkdir(path, 0700), 0);
    cr_expect_eq(log_reopen(), -EISDIR);
    log_info(LOG_NOBODY, "still there");
    expect_match(content(in_dir("old")), "still there\n$");
}

Test(log, moves_between_file_and_stderr)
{
    char path[128];
    int fd = use_pipe();

    snprintf(path, sizeof(path), "%s", in_dir("log"));
    cr_assert_eq(configure(LOG_LEVEL_INFO, LOG_FORMAT_AUTO, path), 0);
    log_info(LOG_NOBODY, "one");
    cr_assert_eq(configure(LOG_LEVEL_INFO, LOG_FORMAT_AUTO, "-"), 0);
    log_info(LOG_NOBODY, "two");
    cr_expect_eq(log_reopen(), 0);
    log_info(LOG_NOBODY, "three");
    cr_assert_eq(configure(LOG_LEVEL_INFO, LOG_FORMAT_AUTO, path), 0);
    path[0] = '\0'; /* the name is the log's own */
    cr_expect_eq(log_reopen(), 0);
    log_info(LOG_NOBODY, "four");
    expect_match(received(fd), "two\n[^\n]*three\n$");
    expect_match(content(in_dir("log")), "one\n[^\n]*four\n$");
}

Test(log, a_full_disk_loses_lines)
{
    use_pipe();
    cr_assert_eq(configure(LOG_LEVEL_INFO, LOG_FORMAT_AUTO, "/dev/full"), 0);
    log_info(LOG_NOBODY, "lost");
    log_info(LOG_NOBODY, "lost");
    cr_expect_eq(log_dropped(), 2);
    cr_assert_eq(configure(LOG_LEVEL_INFO, LOG_FORMAT_AUTO, in_dir("log")), 0);
    log_info(LOG_NOBODY, "kept");
    expect_match(content(in_dir("log")), "2 log lines were lost\n[^\n]*kept\n$");
    cr_expect_eq(log_dropped(), 2);
}

static void limit_file_size(rlim_t size)
{
    struct rlimit limit = {.rlim_cur = size, .rlim_max = RLIM_INFINITY};

    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* A disk that fills up in the middle of a line. */
static void tear_a_line(void)
{
    signal(SIGXFSZ, SIG_IGN);
    use_pipe();
    cr_assert_eq(configure(LOG_LEVEL_INFO, LOG_FORMAT_AUTO, in_dir("log")), 0);
    limit_file_size(50);
    log_info(LOG_NOBODY, "a line of more than fifty bytes");
    cr_expect_eq(log_dropped(), 0, "its rest is to come");
    log_info(LOG_NOBODY, "lost");
    cr_expect_eq(log_dropped(), 1);
    cr_expect_eq(strlen(content(in_dir("log"))), 50);
}

Test(log, a_torn_line_is_finished_first)
{
    tear_a_line();
    cr_assert_eq(log_reopen(), 0, "the file is the same: nothing to do");
    limit_file_size(55);
    log_info(LOG_NOBODY, "lost, but a part of the rest fits");
    limit_file_size(RLIM_INFINITY);
    log_info(LOG_NOBODY, "kept");
    expect_match(content(in_dir("log")), "^" STAMP " info  a line of more than fifty bytes\n" STAMP
                                         " warn  2 log lines were lost\n" STAMP " info  kept\n$");
}

Test(log, the_rest_of_a_torn_line_stays_out_of_the_next_file)
{
    tear_a_line();
    cr_assert_eq(rename(in_dir("log"), in_dir("old")), 0);
    cr_assert_eq(log_reopen(), 0);
    limit_file_size(RLIM_INFINITY);
    log_info(LOG_NOBODY, "kept");
    expect_match(content(in_dir("log")),
                 "^" STAMP " warn  2 log lines were lost\n" STAMP " info  kept\n$");
}

Test(log, close_finishes_a_torn_line)
{
    tear_a_line();
    limit_file_size(RLIM_INFINITY);
    log_close();
    expect_match(content(in_dir("log")), "^" STAMP " info  a line of more than fifty bytes\n$");
    cr_expect_eq(log_dropped(), 0);
}

/* --- The journal --- */

static void name_journal(ino_t more)
{
    char name[64];
    struct stat st;

    cr_assert_eq(fstat(STDERR_FILENO, &st), 0);
    snprintf(name, sizeof(name), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)(st.st_ino + more));
    cr_assert_eq(setenv("JOURNAL_STREAM", name, 1), 0);
}

Test(log, the_journal_gets_priorities)
{
    int fd = use_socket(SOCK_STREAM);

    name_journal(0);
    cr_assert_eq(configure(LOG_LEVEL_DEBUG, LOG_FORMAT_AUTO, "-"), 0);
    log_error(web3, "e");
    log_warn(LOG_NOBODY, "w");
    log_info(LOG_NOBODY, "i");
    log_debug(LOG_NOBODY, "d");
    cr_expect_str_eq(received(fd), "<3>web.3[1234]: e\n<4>w\n<6>i\n<7>d\n");
    cr_assert_eq(configure(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT, "-"), 0);
    log_info(LOG_NOBODY, "text is text");
    expect_match(received(fd), "^" STAMP " info  text is text\n$");
    cr_assert_eq(configure(LOG_LEVEL_DEBUG, LOG_FORMAT_AUTO, in_dir("log")), 0);
    log_info(LOG_NOBODY, "no journal");
    expect_match(content(in_dir("log")), "^" STAMP " info  no journal\n$");
}

Test(log, another_stderr_is_no_journal)
{
    int fd = use_pipe();

    name_journal(1);
    log_info(LOG_NOBODY, "x");
    expect_match(received(fd), "^" STAMP);
    setenv("JOURNAL_STREAM", "rubbish", 1);
    log_close();
    log_info(LOG_NOBODY, "x");
    expect_match(received(fd), "^" STAMP);
}
