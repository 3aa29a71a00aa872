#include "mechanism/adopt_filter.h"

#include <linux/filter.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5) /* Linux 5.19 */
#endif

/* SPEC_ALLOW: the program is not slowed down by mitigations that it did not ask for. */
#define FLAGS        (SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_SPEC_ALLOW)
#define FLAG_OF_5_19 SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV

struct adopt_filter {
    struct sock_fprog program;
};

/* System calls of other architectures pass: the filter hands over, it does not forbid. */
static int add_rules(scmp_filter_ctx context)
{
    static const int calls[] = {SCMP_SYS(bind), SCMP_SYS(listen)};
    int err = seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);

    for (size_t i = 0; err == 0 && i < ARRAY_SIZE(calls); i++)
        err = seccomp_rule_add(context, SCMP_ACT_NOTIFY, calls[i], 0);
    return err;
}

/* By way of a file: libseccomp learned to write into memory in 2.6 only. */
static int read_program(scmp_filter_ctx context, struct sock_fprog *out)
{
    CLEANUP_CLOSE int fd = memfd_create("filter", MFD_CLOEXEC);
    struct stat st;
    int err;

    if (fd < 0)
        return -errno;
    err = seccomp_export_bpf(context, fd);
    if (err < 0)
        return err;
    if (fstat(fd, &st) < 0)
        return -errno;
    out->len = (unsigned short)((size_t)st.st_size / sizeof(*out->filter));
    out->filter = malloc((size_t)st.st_size);
    if (!out->filter)
        return -ENOMEM;
    return pread(fd, out->filter, (size_t)st.st_size, 0) == st.st_size ? 0 : -EIO;
}

int adopt_filter_new(struct adopt_filter **out)
{
    struct adopt_filter *f = calloc(1, sizeof(*f));
    scmp_filter_ctx context = seccomp_init(SCMP_ACT_ALLOW);
    int err = f && context ? add_rules(context) : -ENOMEM;

    if (err == 0)
        err = read_program(context, &f->program);
    if (context)
        seccomp_release(context);
    if (err < 0) {
        adopt_filter_free(f);
        return err;
    }
    *out = f;
    return 0;
}

void adopt_filter_free(struct adopt_filter *f)
{
    if (f)
        free(f->program.filter);
    free(f);
}

/* A kernel before 5.19 says EINVAL to the flag; a signal may repeat a call there. */
static int install(const struct adopt_filter *f)
{
    long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, FLAGS | FLAG_OF_5_19, &f->program);

    if (fd < 0 && errno == EINVAL)
        fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, FLAGS, &f->program);
    return fd < 0 ? -errno : (int)fd;
}

int adopt_filter_install(const struct adopt_filter *f)
{
    int fd = install(f);

    if (fd == -EACCES && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
        fd = install(f);
    return fd;
}
