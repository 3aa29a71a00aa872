/* State for another program: what is put in comes out, and nothing else is believed. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/util.h"
#include "cluster/slot.h"
#include "interface/reload.h"
#include "mechanism/handover.h"

static bool is_cloexec(int fd)
{
    return fcntl(fd, F_GETFD) & FD_CLOEXEC;
}

static int memfd_of(const char *text)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    return fd;
}

static int read_text(const char *text, struct why *why)
{
    CLEANUP_CLOSE int fd = memfd_of(text);
    json_t *state = NULL;
    int r = handover_read(fd, &state, why);

    if (r == 0)
        json_decref(state);
    return r;
}

Test(handover, what_is_put_in_comes_out)
{
    static const char odd[] = "\x01\"\\\xff\xfe \xc3\xa9\n";
    CLEANUP_CLOSE int kept = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct handover h;
    json_t *state;
    char text[32], cut[4];
    int fd;

    cr_assert_eq(handover_init(&h), 0);
    handover_put_fd(&h, h.state, "fd", kept);
    handover_put_fd(&h, h.state, "none", -1);
    handover_put_text(h.state, "text", odd);
    cr_expect_eq(h.nfds, 1);
    fd = handover_write(&h);
    cr_assert_geq(fd, 0);
    cr_expect(is_cloexec(fd));
    cr_assert_eq(handover_read(fd, &state, NULL), 0);
    cr_expect_eq(handover_take_fd(state, "fd"), kept);
    cr_expect_eq(handover_take_fd(state, "none"), -1);
    handover_copy_text(state, "text", text, sizeof(text));
    cr_expect_str_eq(text, odd);
    handover_copy_text(state, "text", cut, sizeof(cut));
    cr_expect_str_eq(cut, "\x01\"\\");
    cr_expect_eq(handover_number(state, "version"), HANDOVER_VERSION);
    cr_expect_eq(handover_number(state, "missing"), 0);
    cr_expect_str_eq(handover_word(state, "missing"), "");
    cr_expect_str_eq(handover_word(state, "program"), PACKAGE_VERSION);
    cr_expect_not(handover_flag(state, "version"));
    json_decref(state);
    handover_free(&h);
    close(fd);
}

static const struct {
    const char *(*name_of)(unsigned number);
    unsigned n;
} name_tables[] = {
    {breaker_state_name, BREAKER_NSTATES},   {restart_end_name, END_NENDS},
    {restart_reason_name, RESTART_NREASONS}, {slot_fsm_state_name, SLOT_NSTATES},
    {worker_state_name, WORKER_GONE + 1},    {spawn_stage_name, SPAWN_NSTAGES},
    {reload_result_name, RELOAD_FAILED + 1},
};

Test(handover, names_come_back)
{
    for (size_t t = 0; t < ARRAY_SIZE(name_tables); t++)
        for (unsigned i = 0; i < name_tables[t].n; i++) {
            const char *name = name_tables[t].name_of(i);
            json_t *state = json_pack("{s:s}", "key", name);

            cr_expect_eq(
                handover_named(state, "key", name_tables[t].name_of, name_tables[t].n, NULL),
                (int)i, "%s of table %zu", name, t);
            json_decref(state);
        }
}

Test(handover, names_that_nobody_has_are_refused)
{
    json_t *state = json_pack("{s:s, s:s, s:i}", "unknown", "ajar", "empty", "", "number", 1);

    for (size_t t = 0; t < ARRAY_SIZE(name_tables); t++) {
        static const char *const keys[] = {"unknown", "empty", "number"};

        for (size_t k = 0; k < ARRAY_SIZE(keys); k++) {
            struct why why = {0};

            cr_expect_eq(
                handover_named(state, keys[k], name_tables[t].name_of, name_tables[t].n, &why),
                -EINVAL, "%s of table %zu", keys[k], t);
            cr_expect(strstr(why.text, keys[k]), "%s", why.text);
        }
        cr_expect_eq(
            handover_named(state, "missing", name_tables[t].name_of, name_tables[t].n, NULL), 0);
    }
    json_decref(state);
}

static void expect_same_exit(const struct worker_exit *a, const struct worker_exit *b)
{
    cr_expect_eq(a->kind, b->kind);
    cr_expect_eq(a->code, b->code);
    cr_expect_eq(a->reason, b->reason);
    cr_expect_eq(a->error.stage, b->error.stage);
    cr_expect_eq(a->error.err, b->error.err);
    cr_expect_eq(a->at_wall_ms, b->at_wall_ms);
}

Test(handover, ends_of_workers_come_back)
{
    for (unsigned kind = WORKER_EXIT_NONE; kind <= WORKER_EXIT_START; kind++) {
        const struct worker_exit e = {.kind = (enum worker_exit_kind)kind,
                                      .code = 9,
                                      .reason = RESTART_OOM,
                                      .error = {SPAWN_STAGE_EXEC, ENOENT},
                                      .at_wall_ms = 1234567890123};
        struct worker_exit back = {0};
        json_t *saved = worker_exit_save(&e);

        cr_assert_eq(worker_exit_load(saved, &back, NULL), 0);
        expect_same_exit(&back, &e);
        json_decref(saved);
    }
}

Test(handover, ends_of_workers_with_unknown_names_are_refused)
{
    static const char *const keys[] = {"kind", "reason", "stage"};

    for (size_t k = 0; k < ARRAY_SIZE(keys); k++) {
        const struct worker_exit e = {.kind = WORKER_EXIT_CODE, .code = 3};
        struct worker_exit out = e;
        struct why why = {0};
        json_t *saved = worker_exit_save(&(struct worker_exit){.code = 7});

        json_object_set_new(saved, keys[k], json_string("ajar"));
        cr_expect_eq(worker_exit_load(saved, &out, &why), -EINVAL, "%s", keys[k]);
        cr_expect(strstr(why.text, "'ajar'"), "%s", why.text);
        expect_same_exit(&out, &e);
        json_decref(saved);
    }
}

Test(handover, descriptors_that_are_not_open_are_not_believed)
{
    json_t *state = json_pack("{s:i, s:i, s:s, s:I, s:f}", "closed", 987, "negative", -4, "word",
                              "3", "huge", (json_int_t)1 << 40, "real", 3.0);

    cr_expect_eq(handover_take_fd(state, "closed"), -1);
    cr_expect_eq(handover_take_fd(state, "negative"), -1);
    cr_expect_eq(handover_take_fd(state, "word"), -1);
    cr_expect_eq(handover_take_fd(state, "huge"), -1);
    cr_expect_eq(handover_take_fd(state, "real"), -1);
    json_decref(state);
}

Test(handover, odd_text_ends_where_it_stops_making_sense)
{
    json_t *state = json_pack("{s:s, s:s, s:s}", "odd", "41424", "bad", "41zz42", "empty", "");
    char text[8];

    handover_copy_text(state, "odd", text, sizeof(text));
    cr_expect_str_eq(text, "AB");
    handover_copy_text(state, "bad", text, sizeof(text));
    cr_expect_str_eq(text, "A");
    handover_copy_text(state, "empty", text, sizeof(text));
    cr_expect_str_eq(text, "");
    json_decref(state);
}

Test(handover, versions_from_the_oldest_to_our_own_are_understood)
{
    struct why why = {0};
    char text[64];

    for (int version = HANDOVER_OLDEST; version <= HANDOVER_VERSION; version++) {
        snprintf(text, sizeof(text), "{\"version\": %d, \"later\": []}", version);
        cr_expect_eq(read_text(text, &why), 0);
    }
    snprintf(text, sizeof(text), "{\"version\": %d}", HANDOVER_VERSION + 1);
    cr_expect_eq(read_text(text, &why), -ENOTSUP);
    cr_expect(strstr(why.text, "hands over state of version"), "%s", why.text);
    snprintf(text, sizeof(text), "{\"version\": %d}", HANDOVER_OLDEST - 1);
    cr_expect_eq(read_text(text, &why), -ENOTSUP);
    cr_expect_eq(read_text("{}", &why), -ENOTSUP);
    cr_expect_eq(read_text("{\"version\": \"1\"}", &why), -ENOTSUP);
}

Test(handover, what_is_no_state_is_told)
{
    static const char *const texts[] = {
        "", "[]", "7", "{", "{\"version\": 1", "null", "\xff", "{\"version\": 1, \"version\": 1}"};
    struct why why;

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        why = (struct why){0};
        cr_expect_eq(read_text(texts[i], &why), -EINVAL, "%s", texts[i]);
        cr_expect(why.text[0]);
    }
    cr_expect_lt(handover_read(-1, &(json_t *){NULL}, &why), 0);
}

Test(handover, a_failed_exec_leaves_everything_as_it_was)
{
    static char *const none[] = {NULL};
    CLEANUP_CLOSE int kept = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct handover h;

    cr_assert_eq(handover_init(&h), 0);
    handover_put_fd(&h, h.state, "fd", kept);
    cr_expect_eq(handover_exec(&h, "/nonexistent/program", none, none), -ENOENT);
    cr_expect(is_cloexec(kept));
    handover_free(&h);
}

Test(handover, the_program_finds_the_state_and_the_descriptors)
{
    static const char script[] = "grep -q '\"fd\":40' /proc/self/fd/$PREFORKD_HANDOVER &&"
                                 "test \"$(cat /proc/self/fd/40)\" = here && test $KEPT = 1";
    static char *const argv[] = {"sh", "-c", (char *)script, NULL};
    static char *const envp[] = {"KEPT=1", "PATH=/usr/bin:/bin", NULL};
    int pipe_fds[2], status;
    pid_t pid = fork();

    if (pid == 0) {
        struct handover h;

        if (pipe2(pipe_fds, O_CLOEXEC) < 0 || dup3(pipe_fds[0], 40, O_CLOEXEC) < 0 ||
            write(pipe_fds[1], "here", 4) != 4 || handover_init(&h) < 0)
            _exit(101);
        close(pipe_fds[1]);
        handover_put_fd(&h, h.state, "fd", 40);
        handover_exec(&h, "/bin/sh", argv, envp);
        _exit(102);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect(WIFEXITED(status), "%x", (unsigned)status);
    cr_expect_eq(WEXITSTATUS(status), 0, "%d", WEXITSTATUS(status));
}

Test(handover, the_environment_names_it_once)
{
    CLEANUP_CLOSE int fd = memfd_of("{}");
    char number[16];

    cr_expect_eq(handover_take_from_environment(), -1);
    snprintf(number, sizeof(number), "%d", fd);
    setenv(HANDOVER_ENVIRONMENT, number, 1);
    cr_expect_eq(handover_take_from_environment(), fd);
    cr_expect_null(getenv(HANDOVER_ENVIRONMENT));
    for (const char *const *bad = (const char *const[]){"", "x", "3x", "-3", "0", "2", "987", NULL};
         *bad; bad++) {
        setenv(HANDOVER_ENVIRONMENT, *bad, 1);
        cr_expect_eq(handover_take_from_environment(), -1, "'%s'", *bad);
        cr_expect_null(getenv(HANDOVER_ENVIRONMENT));
    }
}

Test(handover, the_program_is_found_where_it_was_started)
{
    CLEANUP_FREE char *absolute = handover_program("/usr/sbin/preforkd");
    CLEANUP_FREE char *searched = NULL, *relative = NULL, *missing = NULL;

    cr_expect_str_eq(absolute, "/usr/sbin/preforkd");
    setenv("PATH", "/nonexistent:/usr/bin:/bin", 1);
    searched = handover_program("sh");
    cr_expect(searched && access(searched, X_OK) == 0);
    cr_assert_eq(chdir("/usr"), 0);
    relative = handover_program("bin/env");
    cr_expect_str_eq(relative, "/usr/bin/env");
    missing = handover_program("no-such-program-anywhere");
    cr_expect_null(missing);
}
