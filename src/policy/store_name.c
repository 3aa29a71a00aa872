#include "policy/store_name.h"

#include <ctype.h>

#include "policy/settings_types.h"

#define PREFIX   "preforkd.socket/"
#define NAME_MAX 255 /* FDNAME_MAX of systemd */
#define SLOT_MAX 4096

/* As in an URL, for what a name may not hold. */
static void add_escaped(struct buf *out, const char *text)
{
    for (; *text; text++)
        if (isgraph((unsigned char)*text) && *text != ':' && *text != '%')
            buf_putc(out, *text);
        else
            buf_printf(out, "%%%02X", (unsigned char)*text);
}

int store_name_format(const struct store_name *name, struct buf *out)
{
    CLEANUP_BUF struct buf address = BUF_INIT;
    CLEANUP_BUF struct buf text = BUF_INIT;

    sockspec_format(&name->spec, 0, &address);
    buf_printf(&text, PREFIX "%s/%s/", name->discovered ? "found" : "listed", name->pool);
    if (name->slot < 0)
        buf_puts(&text, "all/");
    else
        buf_printf(&text, "%d/", name->slot);
    add_escaped(&text, buf_str(&address));
    if (address.failed || text.failed)
        return -ENOMEM;
    if (text.len > NAME_MAX)
        return -ENAMETOOLONG;
    buf_append(out, text.data, text.len);
    return 0;
}

/* Copies up to the next '/' and steps behind it; false when there is none or no room. */
static bool take_part(const char **text, char *out, size_t size)
{
    size_t len = strcspn(*text, "/");

    if ((*text)[len] != '/' || len == 0 || len >= size)
        return false;
    memcpy(out, *text, len);
    out[len] = '\0';
    *text += len + 1;
    return true;
}

static bool take_kind(const char **text, bool *discovered)
{
    char word[8];

    if (!take_part(text, word, sizeof(word)))
        return false;
    *discovered = streq(word, "found");
    return *discovered || streq(word, "listed");
}

static bool take_slot(const char **text, int *slot)
{
    char word[8];

    if (!take_part(text, word, sizeof(word)))
        return false;
    *slot = -1;
    if (streq(word, "all"))
        return true;
    if (word[strspn(word, "0123456789")])
        return false;
    *slot = (int)strtoul(word, NULL, 10); /* 7 digits at most */
    return *slot < SLOT_MAX;
}

static int hex_digit(char c)
{
    static const char digits[] = "0123456789ABCDEF";
    const char *found = c ? strchr(digits, c) : NULL;

    return found ? (int)(found - digits) : -1;
}

static bool unescape(const char *text, char *out, size_t size)
{
    for (; *text && size > 1; size--) {
        int high = *text == '%' ? hex_digit(text[1]) : 0;
        int low = *text == '%' && high >= 0 ? hex_digit(text[2]) : 0;

        if (high < 0 || low < 0)
            return false;
        *out++ = *text == '%' ? (char)(high * 16 + low) : *text;
        text += *text == '%' ? 3 : 1;
    }
    *out = '\0';
    return *text == '\0';
}

int store_name_parse(const char *text, struct store_name *out)
{
    const char *at = str_after(text, PREFIX);
    char address[NAME_MAX + 1];

    *out = (struct store_name){0};
    if (!at || !take_kind(&at, &out->discovered) || !take_part(&at, out->pool, sizeof(out->pool)) ||
        !take_slot(&at, &out->slot) || !unescape(at, address, sizeof(address)))
        return -EINVAL;
    return sockspec_parse(address, &out->spec, NULL);
}
