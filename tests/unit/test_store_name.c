#include "policy/store_name.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

static struct store_name name_of(const char *pool, int slot, bool discovered, const char *address)
{
    struct store_name name = {.slot = slot, .discovered = discovered};

    strcpy(name.pool, pool);
    cr_assert_eq(sockspec_parse(address, &name.spec, NULL), 0);
    return name;
}

static void expect_same(const struct store_name *name, const char *text)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct store_name back;

    cr_assert_eq(store_name_format(name, &out), 0);
    cr_expect_str_eq(buf_str(&out), text);
    cr_assert_eq(store_name_parse(buf_str(&out), &back), 0, "%s", buf_str(&out));
    cr_expect_str_eq(back.pool, name->pool);
    cr_expect_eq(back.slot, name->slot);
    cr_expect_eq(back.discovered, name->discovered);
    cr_expect(sockspec_same_address(&back.spec, &name->spec));
}

Test(store_name, there_and_back)
{
    static const struct {
        const char *pool;
        int slot;
        bool discovered;
        const char *address, *text;
    } cases[] = {
        {"web", 3, false, "127.0.0.1:8080", "preforkd.socket/listed/web/3/127.0.0.1%3A8080"},
        {"web", 0, true, "8080", "preforkd.socket/found/web/0/*%3A8080"},
        {"a-b_C", 4095, false, "udp:[fe80::1%eth0]:53",
         "preforkd.socket/listed/a-b_C/4095/udp%3A[fe80%3A%3A1%25eth0]%3A53"},
        {"web", -1, false, "unix:/run/my app/x",
         "preforkd.socket/listed/web/all/unix%3A/run/my%20app/x"},
        {"web", -1, false, "unix:@x", "preforkd.socket/listed/web/all/unix%3A@x"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct store_name name =
            name_of(cases[i].pool, cases[i].slot, cases[i].discovered, cases[i].address);

        expect_same(&name, cases[i].text);
    }
}

/* Every byte that a path may hold takes three characters at most. */
Test(store_name, too_long)
{
    char address[128] = "unix:/";
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct store_name name;

    memset(address + 6, ' ', 90);
    address[96] = 'x';
    name = name_of("web", 1, false, address);
    cr_expect_eq(store_name_format(&name, &out), -ENAMETOOLONG);
    cr_expect_eq(out.len, 0);
}

Test(store_name, not_ours)
{
    static const char *const texts[] = {
        "",
        "web",
        "preforkd.socket",
        STORE_NAME_ORDER,
        "preforkd.socket/",
        "preforkd.socket/listed",
        "preforkd.socket/listed/web/0",
        "preforkd.socket/listed/web/0/",
        "preforkd.socket/listed//0/127.0.0.1%3A80",
        "preforkd.socket/other/web/0/127.0.0.1%3A80",
        "preforkd.socket/listed/web/-1/127.0.0.1%3A80",
        "preforkd.socket/listed/web/+1/127.0.0.1%3A80",
        "preforkd.socket/listed/web/4096/127.0.0.1%3A80",
        "preforkd.socket/listed/web/99999999999/127.0.0.1%3A80",
        "preforkd.socket/listed/web/0/127.0.0.1%3",
        "preforkd.socket/listed/web/0/127.0.0.1%",
        "preforkd.socket/listed/web/0/127.0.0.1%+A80",
        "preforkd.socket/listed/web/0/%0080",
        "preforkd.socket/listed/web/0/nonsense",
        ("preforkd.socket/listed/"
         "0123456789012345678901234567890123456789012345678901234567890123/0/80"),
    };
    struct store_name name;

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        cr_expect_eq(store_name_parse(texts[i], &name), -EINVAL, "%s", texts[i]);
}
