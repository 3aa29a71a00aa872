/* The command line of preforkctl, and what it asks for. */
#include <criterion/criterion.h>

#include "ctl/options.h"

static int parse(struct options *o, struct why *why, char *const *words)
{
    int n = 0;

    while (words[n])
        n++;
    return options_parse(n, words, o, why);
}
#define PARSE(o, why, ...) parse(o, why, (char *[]){__VA_ARGS__, NULL})

static void expect_path(const char *path, char *const *words)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct options o;
    struct why why = {""};

    cr_assert_eq(parse(&o, &why, words), 0, "%s: %s", path, why.text);
    cr_expect_eq(options_path(&o, &out, &why), 0, "%s: %s", path, why.text);
    cr_expect_str_eq(buf_str(&out), path);
}
#define EXPECT_PATH(path, ...) expect_path(path, (char *[]){__VA_ARGS__, NULL})

/* Whether the arguments are refused, and the reason. */
static void expect_refused(const char *reason, char *const *words)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct options o;
    struct why why = {""};
    int err = parse(&o, &why, words);

    if (err == 0)
        err = options_path(&o, &out, &why);
    cr_expect_eq(err, -EINVAL, "%s", reason);
    cr_expect_str_eq(why.text, reason);
}
#define EXPECT_REFUSED(reason, ...) expect_refused(reason, (char *[]){__VA_ARGS__, NULL})

Test(options, every_command_has_its_path)
{
    EXPECT_PATH("/v1/status", "status");
    EXPECT_PATH("/v1/status", "top");
    EXPECT_PATH("/v1/reload", "reload");
    EXPECT_PATH("/v1/reload?wait=0", "reload", "--no-wait");
    EXPECT_PATH("/v1/upgrade", "upgrade");
    EXPECT_PATH("/v1/stop", "stop");
    EXPECT_PATH("/v1/restart?pool=web", "restart", "web");
    EXPECT_PATH("/v1/restart?pool=web&slot=12", "restart", "web.12");
    EXPECT_PATH("/v1/scale?pool=web&workers=4", "scale", "web", "4");
    EXPECT_PATH("/v1/scale?pool=web&workers=%2B1", "scale", "web", "+1");
    EXPECT_PATH("/v1/scale?pool=web&workers=-1", "scale", "web", "-1");
    EXPECT_PATH("/v1/scale?pool=web&workers=-1", "scale", "web", "--", "-1");
}

Test(options, names_are_encoded)
{
    EXPECT_PATH("/v1/restart?pool=a%26b%3D%2F%20%C3%BC", "restart", "a&b=/ \xc3\xbc");
    EXPECT_PATH("/v1/restart?pool=-x", "restart", "--", "-x");
}

Test(options, may_stand_anywhere)
{
    struct options o;
    struct why why;

    cr_assert_eq(PARSE(&o, &why, "-s", "/a", "scale", "--json", "web", "3"), 0);
    cr_expect(o.json && o.command == CTL_SCALE && o.nargs == 2);
    cr_expect_str_eq(o.socket, "/a");
    cr_assert_eq(PARSE(&o, &why, "status", "--watch", "--socket=/b"), 0);
    cr_expect(o.watch && !o.json && o.command == CTL_STATUS);
    cr_expect_str_eq(o.socket, "/b");
    cr_assert_eq(PARSE(&o, &why, "-s/c", "top"), 0);
    cr_expect_str_eq(o.socket, "/c");
}

Test(options, help_and_version_end_the_reading)
{
    struct options o;
    struct why why;

    cr_assert_eq(PARSE(&o, &why, "status", "-h", "--nonsense"), 0);
    cr_expect(o.help);
    cr_assert_eq(PARSE(&o, &why, "-V"), 0);
    cr_expect(o.version);
}

Test(options, refuses_wrong_usage)
{
    EXPECT_REFUSED("a command is missing; try --help", NULL);
    EXPECT_REFUSED("a command is missing; try --help", "--json");
    EXPECT_REFUSED("unknown command 'zzzz'; try --help", "zzzz");
    EXPECT_REFUSED("unknown command 'sotp'; did you mean 'stop'?", "sotp");
    EXPECT_REFUSED("unknown command ''; try --help", "");
    EXPECT_REFUSED("unknown option '--jason'; did you mean '--json'?", "status", "--jason");
    EXPECT_REFUSED("unknown option '--='; try --help", "--=");
    EXPECT_REFUSED("unknown option '-x'; try --help", "status", "-x");
    EXPECT_REFUSED("--json takes no value", "status", "--json=1");
    EXPECT_REFUSED("--socket needs a value: PATH", "status", "-s");
    EXPECT_REFUSED("--socket: the value is empty", "status", "--socket=");
    EXPECT_REFUSED("--watch is for status only", "reload", "--watch");
    EXPECT_REFUSED("--no-wait is for reload only", "stop", "--no-wait");
    EXPECT_REFUSED("top has no JSON; try: preforkctl status --json --watch", "top", "--json");
    EXPECT_REFUSED("status: 'web' is one argument too many", "status", "web");
    EXPECT_REFUSED("usage: preforkctl scale POOL N|+N|-N", "scale", "web");
    EXPECT_REFUSED("usage: preforkctl restart POOL[.SLOT]", "restart");
}

Test(options, refuses_wrong_numbers)
{
    EXPECT_REFUSED("'x' is no number of workers: N, +N or -N", "scale", "web", "x");
    EXPECT_REFUSED("'' is no number of workers: N, +N or -N", "scale", "web", "");
    EXPECT_REFUSED("'+' is no number of workers: N, +N or -N", "scale", "web", "+");
    EXPECT_REFUSED("'1e9' is no number of workers: N, +N or -N", "scale", "web", "1e9");
    EXPECT_REFUSED("'9999999999' is no number of workers: N, +N or -N", "scale", "web",
                   "9999999999");
    EXPECT_REFUSED("'web.' is neither POOL nor POOL.SLOT", "restart", "web.");
    EXPECT_REFUSED("'web.x' is neither POOL nor POOL.SLOT", "restart", "web.x");
    EXPECT_REFUSED("'.1' is neither POOL nor POOL.SLOT", "restart", ".1");
    EXPECT_REFUSED("'web.0.1' is neither POOL nor POOL.SLOT", "restart", "web.0.1");
}

Test(options, help_names_every_command)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    options_help(&out);
    for (int c = CTL_STATUS; c <= CTL_TOP; c++)
        cr_expect(strstr(buf_str(&out), options_command_name((enum ctl_command)c)));
    cr_expect(strstr(buf_str(&out), "  -s, --socket PATH "));
}
