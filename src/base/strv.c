#include "base/strv.h"

#include <stdarg.h>
#include <stdio.h>

void strv_free(struct strv *v)
{
    for (size_t i = 0; i < v->n; i++)
        free(v->items[i]);
    free(v->items);
    *v = (struct strv){0};
}

int strv_push_take(struct strv *v, char *s)
{
    char **items = s ? reallocarray(v->items, v->n + 2, sizeof(*items)) : NULL;

    if (!items) {
        free(s);
        return -ENOMEM;
    }
    v->items = items;
    v->items[v->n++] = s;
    v->items[v->n] = NULL;
    return 0;
}

int strv_push(struct strv *v, const char *s)
{
    return strv_push_take(v, strdup(s));
}

int strv_pushf(struct strv *v, const char *fmt, ...)
{
    va_list ap;
    char *s;
    int len;

    va_start(ap, fmt);
    len = vasprintf(&s, fmt, ap);
    va_end(ap);
    return len < 0 ? -ENOMEM : strv_push_take(v, s);
}

int strv_copy(struct strv *dst, const struct strv *src)
{
    struct strv copy = {0};

    for (size_t i = 0; i < src->n; i++)
        if (strv_push(&copy, src->items[i]) < 0) {
            strv_free(&copy);
            return -ENOMEM;
        }
    *dst = copy;
    return 0;
}

bool strv_equal(const struct strv *a, const struct strv *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!streq(a->items[i], b->items[i]))
            return false;
    return true;
}

bool strv_contains(const struct strv *v, const char *s)
{
    for (size_t i = 0; i < v->n; i++)
        if (streq(v->items[i], s))
            return true;
    return false;
}

static void strv_remove(struct strv *v, size_t i)
{
    free(v->items[i]);
    memmove(v->items + i, v->items + i + 1, (v->n - i) * sizeof(*v->items));
    v->n--;
}

/* The value's place when `entry` is "NAME=value" with this name, else NULL. */
static const char *env_value(const char *entry, const char *name)
{
    const char *rest = str_after(entry, name);

    return rest && *rest == '=' ? rest + 1 : NULL;
}

static void env_remove(struct strv *v, const char *name, size_t from)
{
    for (size_t i = from; i < v->n;)
        if (env_value(v->items[i], name))
            strv_remove(v, i);
        else
            i++;
}

/* A name that is there twice reads differently in different programs: only one is left. */
int strv_env_set(struct strv *v, const char *name, const char *value)
{
    char *entry;

    if (asprintf(&entry, "%s=%s", name, value) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < v->n; i++)
        if (env_value(v->items[i], name)) {
            free(v->items[i]);
            v->items[i] = entry;
            env_remove(v, name, i + 1);
            return 0;
        }
    return strv_push_take(v, entry);
}

void strv_env_unset(struct strv *v, const char *name)
{
    env_remove(v, name, 0);
}

void strv_env_unset_prefix(struct strv *v, const char *prefix)
{
    for (size_t i = 0; i < v->n;)
        if (str_after(v->items[i], prefix))
            strv_remove(v, i);
        else
            i++;
}

const char *strv_env_get(const struct strv *v, const char *name)
{
    for (size_t i = 0; i < v->n; i++) {
        const char *value = env_value(v->items[i], name);

        if (value)
            return value;
    }
    return NULL;
}
