#include "../lib/adoption.h"

#include "mechanism/features.h"

enum { WORD_AT = 23 }; /* the column of "yes" and "no" */

static bool says(const char *table, const char *feature, const char *word)
{
    for (const char *line = table; *line; line += strcspn(line, "\n") + 1)
        if (str_after(line, feature) && line[strlen(feature)] == ' ' &&
            line[strlen(feature) + 1] == ' ')
            return str_after(line + WORD_AT, word) != NULL;
    return false;
}

/* Without leftovers: neither descriptors nor children. */
Test(features, everything_is_named_once_and_nothing_stays)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    int before = count_descriptors();
    int lines = 0;

    features_print(&out);
    cr_expect_eq(count_descriptors(), before);
    cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1);
    cr_expect_eq(errno, ECHILD);
    for (const char *line = buf_str(&out); *line; line += strcspn(line, "\n") + 1, lines++)
        cr_expect(lines == 0 || str_after(line + WORD_AT, "yes  ") ||
                      str_after(line + WORD_AT, "no "),
                  "%.*s", (int)strcspn(line, "\n"), line);
    cr_expect_gt(lines, 10);
}

/* As somebody else's supervision of setsid(2) does: one is all that the kernel allows. */
static bool be_supervised(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setsid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {ARRAY_SIZE(code), code};

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                   &program) >= 0;
}

/* What the master was allowed to do decides. */
struct features_case {
    bool as_nobody;
    int without; /* a family that is forbidden, 0: none */
    bool nested; /* somebody else supervises us already */
    const char *expected[8][2];
};

static int play_features(void *data)
{
    const struct features_case *c = data;
    CLEANUP_BUF struct buf out = BUF_INIT;

    if (geteuid() != 0 || (c->as_nobody && !become_nobody()))
        return FORBIDDEN;
    prctl(PR_SET_DUMPABLE, 1);
    if (c->without)
        forbid_family((unsigned)c->without);
    if (c->nested)
        DEMAND(be_supervised());
    features_print(&out);
    for (size_t i = 0; i < ARRAY_SIZE(c->expected) && c->expected[i][0]; i++)
        if (!says(buf_str(&out), c->expected[i][0], c->expected[i][1])) {
            dprintf(STDERR_FILENO, "%s: not %s\n%s", c->expected[i][0], c->expected[i][1],
                    buf_str(&out));
            return 1;
        }
    return 0;
}

Test(features, as_root)
{
    struct features_case c = {.expected = {{"SO_REUSEPORT", "yes"},
                                           {"adoption", "yes"},
                                           {"adoption, other user", "yes"},
                                           {"pidfd_getfd", "yes"},
                                           {"privileged filter", "yes"},
                                           {"CPU quota", "yes"}}};

    expect_play(play_features, &c);
}

Test(features, as_an_ordinary_user)
{
    struct features_case c = {.as_nobody = true,
                              .expected = {{"adoption", "yes"},
                                           {"adoption, other user", "no"},
                                           {"privileged filter", "no"}}};

    expect_play(play_features, &c);
}

Test(features, without_ip6)
{
    struct features_case c = {.without = AF_INET6,
                              .expected = {{"IPv6", "no"}, {"SO_REUSEPORT", "yes"}}};

    expect_play(play_features, &c);
}

Test(features, below_another_supervisor)
{
    struct features_case c = {.nested = true,
                              .expected = {{"adoption", "no"}, {"seccomp notification", "yes"}}};

    expect_play(play_features, &c);
}
