/* Answers as they come, in pieces of any size. */
#include <criterion/criterion.h>

#include "ctl/answer.h"

struct seen {
    struct buf text;
    int n;
};

static void note(void *user, const char *text, size_t len, json_t *value)
{
    struct seen *seen = user;

    cr_assert(json_is_object(value));
    buf_append(&seen->text, text, len);
    buf_putc(&seen->text, ';');
    seen->n++;
}

/* Feeds the text in pieces of `piece` bytes; the last outcome. */
static int feed(struct answer *a, const char *text, size_t piece)
{
    size_t len = strlen(text);
    int outcome = 0;

    for (size_t i = 0; outcome == 0 && i < len; i += piece)
        outcome = answer_add(a, text + i, i + piece < len ? piece : len - i);
    return outcome;
}

Test(answer, lines_in_pieces_of_any_size)
{
    static const char text[] = "{\"a\":1}\r\n\n  \n{\"a\":2}\n{\"result\":\"ok\"}\nrubbish";

    for (size_t piece = 1; piece <= sizeof(text); piece++) {
        struct seen seen = {.text = BUF_INIT};
        struct answer a = {.lines = true, .take = note, .user = &seen};

        cr_expect_eq(feed(&a, text, piece), 1, "pieces of %zu", piece);
        cr_expect_str_eq(buf_str(&seen.text), "{\"a\":1}\r;{\"a\":2};{\"result\":\"ok\"};");
        cr_expect_str_eq(json_string_value(json_object_get(a.last, "result")), "ok");
        cr_expect_eq(answer_add(&a, "more", 4), 1);
        cr_expect_eq(answer_end(&a), 0);
        answer_free(&a);
        buf_free(&seen.text);
    }
}

Test(answer, a_value_is_taken_at_its_end)
{
    struct seen seen = {.text = BUF_INIT};
    struct answer a = {.take = note, .user = &seen};

    cr_expect_eq(feed(&a, "{\n\"result\":\n\"ok\"}\n", 3), 0);
    cr_expect_eq(seen.n, 0);
    cr_expect_eq(answer_end(&a), 0);
    cr_expect_eq(seen.n, 1);
    cr_expect(json_object_get(a.last, "result"));
    answer_free(&a);
    buf_free(&seen.text);
}

Test(answer, the_last_line_needs_no_newline)
{
    struct answer a = {.lines = true};

    cr_expect_eq(feed(&a, "{\"a\":1}\n{\"result\":\"ok\"}", 100), 0);
    cr_expect_eq(answer_end(&a), 0);
    answer_free(&a);
}

static void expect_end(bool lines, const char *text, int wanted)
{
    struct answer a = {.lines = lines};
    int outcome = feed(&a, text, 7);

    if (outcome == 0)
        outcome = answer_end(&a);
    cr_expect_eq(outcome, wanted, "%s: %d", text, outcome);
    answer_free(&a);
}

Test(answer, what_is_no_answer_is_refused)
{
    for (int lines = 0; lines < 2; lines++) {
        expect_end(lines, "", -ENODATA);
        expect_end(lines, " \n", -ENODATA);
        expect_end(lines, "rubbish\n", -EPROTO);
        expect_end(lines, "[1]\n", -EPROTO);
        expect_end(lines, "\"result\"\n", -EPROTO);
        expect_end(lines, "{\"result\":\"o", -EPROTO);
        expect_end(lines, "{\"a\":\"\xff\"}\n", -EPROTO);
    }
    expect_end(true, "{\"a\":1}\n", -ENODATA);
}

Test(answer, a_line_is_bounded)
{
    char piece[4096];
    struct answer a = {.lines = true};
    int outcome = 0;

    memset(piece, ' ', sizeof(piece));
    for (int i = 0; i < 17 && outcome == 0; i++)
        outcome = answer_add(&a, piece, sizeof(piece));
    cr_expect_eq(outcome, -EMSGSIZE);
    answer_free(&a);
}

Test(answer, a_value_is_bounded)
{
    static char piece[1 << 20];
    struct answer a = {0};
    int outcome = 0, taken = 0;

    memset(piece, ' ', sizeof(piece));
    for (; taken < 64 && outcome == 0; taken++)
        outcome = answer_add(&a, piece, sizeof(piece));
    cr_expect_eq(outcome, -EMSGSIZE);
    cr_expect_gt(taken, 16);
    answer_free(&a);
}
