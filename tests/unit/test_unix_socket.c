#include "mechanism/unix_socket.h"

#include <fcntl.h>

#include "base/log.h"

#include "../lib/process.h"
#include "../lib/sockets.h"

static char folder[] = "/tmp/unix-socket-XXXXXX";
static struct sockspec spec;
static struct unix_socket_file file;
static struct why why;
static int fd = -1;

static void setup(void)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    cr_assert_not_null(mkdtemp(folder));
    buf_printf(&text, "unix:%s/s", folder);
    spec = spec_for(buf_str(&text), 0);
    fd = socket_for(&spec);
}

static void teardown(void)
{
    close(fd);
    unlink(spec.path);
    rmdir(folder);
}

TestSuite(unix_socket, .init = setup, .fini = teardown);

static struct stat look(void)
{
    struct stat st = {0};

    lstat(spec.path, &st);
    return st;
}

static void expect_refused(int err, const char *reason)
{
    struct stat before = look(), after;

    cr_assert_eq(unix_socket_bind(fd, &spec, &file, &why), err, "%s", why.text);
    cr_assert_not_null(strstr(why.text, reason), "%s", why.text);
    after = look();
    cr_assert_eq(before.st_ino, after.st_ino);
    cr_assert_eq(file.inode, 0);
}

static void expect_bound(void)
{
    struct sockaddr_un a = {0};
    socklen_t len = sizeof(a);

    cr_assert_eq(unix_socket_bind(fd, &spec, &file, &why), 0, "%s", why.text);
    cr_assert_eq(file.inode, look().st_ino);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    cr_assert_str_eq(a.sun_path, spec.path);
}

Test(unix_socket, has_its_mode_whatever_the_umask)
{
    static const mode_t modes[] = {0600, 0660, 0666, 0777, 0};

    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        CLEANUP_CLOSE int s = socket_for(&spec);

        umask(i % 2 ? 0077 : 0);
        spec.mode = modes[i];
        cr_assert_eq(unix_socket_bind(s, &spec, &file, &why), 0, "%s", why.text);
        cr_assert_eq(look().st_mode, S_IFSOCK | modes[i]);
        cr_assert_eq(umask(0), i % 2 ? 0077 : 0);
        unix_socket_remove(&spec, &file);
        cr_assert_eq(look().st_ino, 0);
    }
}

Test(unix_socket, gets_the_user_and_his_group)
{
    if (geteuid() != 0)
        cr_skip_test("needs root");
    strcpy(spec.user, "nobody");
    expect_bound();
    cr_assert_eq(look().st_uid, NOBODY);
    cr_assert_neq(look().st_gid, 0);
}

Test(unix_socket, gets_the_group_alone)
{
    if (geteuid() != 0)
        cr_skip_test("needs root");
    strcpy(spec.group, "12345");
    expect_bound();
    cr_assert_eq(look().st_uid, 0);
    cr_assert_eq(look().st_gid, 12345);
}

Test(unix_socket, refuses_an_unknown_user_before_anything_is_made)
{
    strcpy(spec.user, "no-such-user");
    expect_refused(-ENOENT, "no-such-user");
    cr_assert_eq(look().st_ino, 0);
}

/* An ordinary user may not give a file away: nothing is left behind. */
static int give_away(void *data UNUSED)
{
    if (chmod(folder, 0777) < 0 || !become_nobody())
        return FORBIDDEN;
    strcpy(spec.user, "0");
    if (unix_socket_bind(fd, &spec, &file, &why) != -EPERM || file.inode)
        return 11;
    return look().st_ino == 0 ? 0 : 12;
}

Test(unix_socket, leaves_nothing_behind_when_the_owner_cannot_be_set)
{
    expect_play(give_away, NULL);
}

Test(unix_socket, replaces_a_stale_one)
{
    struct foreigner f = foreigner_start(spec, 1, false);

    foreigner_end(f);
    cr_assert(S_ISSOCK(look().st_mode));
    expect_bound();
    cr_assert_eq(listen(fd, 1), 0);
    close(connect_to(&spec, 0));
}

Test(unix_socket, refuses_a_living_one_and_names_it)
{
    struct foreigner f = foreigner_start(spec, 1, false);
    char who[64];

    snprintf(who, sizeof(who), "pid %d (foreigner)", (int)f.pid);
    expect_refused(-EADDRINUSE, who);
    close(connect_to(&spec, 0));
    foreigner_end(f);
}

/* connect(2) says EAGAIN then. */
Test(unix_socket, a_full_queue_is_living)
{
    CLEANUP_CLOSE int other = plain_listener(&spec, false);
    CLEANUP_CLOSE int first = -1, second = -1;

    cr_assert_eq(listen(other, 0), 0);
    first = connect_to(&spec, 0);
    second = nonblocking(socket_for(&spec));
    expect_refused(-EADDRINUSE, "listens there");
}

Test(unix_socket, one_of_another_type_is_living)
{
    struct sockaddr_storage a;
    socklen_t len = sockspec_sockaddr(&spec, 0, &a);
    CLEANUP_CLOSE int other = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    cr_assert_eq(bind(other, (struct sockaddr *)&a, len), 0);
    expect_refused(-EADDRINUSE, "listens there");
}

Test(unix_socket, leaves_files_alone)
{
    close(open(spec.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    expect_refused(-EEXIST, "not a socket");
}

Test(unix_socket, leaves_dangling_links_alone)
{
    cr_assert_eq(symlink("/nowhere/at/all", spec.path), 0);
    expect_refused(-EEXIST, "not a socket");
}

Test(unix_socket, leaves_folders_alone)
{
    cr_assert_eq(mkdir(spec.path, 0700), 0);
    expect_refused(-EEXIST, "not a socket");
    rmdir(spec.path);
}

Test(unix_socket, says_when_the_folder_is_missing)
{
    rmdir(folder);
    expect_refused(-ENOENT, "No such file");
}

Test(unix_socket, does_not_remove_what_took_its_place)
{
    struct stat theirs;

    expect_bound();
    cr_assert_eq(unlink(spec.path), 0);
    close(open(spec.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    theirs = look();
    unix_socket_remove(&spec, &file);
    cr_assert_eq(look().st_ino, theirs.st_ino);
    unlink(spec.path);
    unix_socket_remove(&spec, &file); /* twice, and nothing there */
}

Test(unix_socket, abstract_names_have_no_file)
{
    struct foreigner f;
    char who[64];

    snprintf(spec.path, sizeof(spec.path), "@unix-socket-%d", (int)getpid());
    cr_assert_eq(unix_socket_bind(fd, &spec, &file, &why), 0, "%s", why.text);
    cr_assert_eq(file.inode, 0);
    unix_socket_remove(&spec, &file);
    close(fd);
    f = foreigner_start(spec, 1, false);
    fd = socket_for(&spec);
    snprintf(who, sizeof(who), "pid %d (foreigner)", (int)f.pid);
    expect_refused(-EADDRINUSE, who);
    foreigner_end(f);
}

Test(unix_socket, leaks_no_descriptor)
{
    struct foreigner f = foreigner_start(spec, 1, false);
    int before;

    log_info(LOG_NOBODY, "the log opens its own descriptor with the first line");
    before = count_descriptors();
    expect_refused(-EADDRINUSE, "listens there");
    foreigner_end(f);
    expect_bound();
    cr_assert_eq(count_descriptors(), before);
}
