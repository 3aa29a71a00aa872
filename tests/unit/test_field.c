/* Fields that may be missing, or something else. */
#include <criterion/criterion.h>

#include "base/util.h"
#include "ctl/field.h"

Test(field, is_what_it_should_be_or_nothing)
{
    json_t *o = json_pack("{s:s, s:i, s:f, s:i, s:n, s:{}}", "text", "words", "int", 7, "real", 0.5,
                          "less", -3, "null", "object");

    cr_expect_str_eq(field_text(o, "text"), "words");
    cr_expect_str_eq(field_text(o, "int"), "");
    cr_expect_str_eq(field_text(o, "none"), "");
    cr_expect_eq(field_number(o, "int"), 7);
    cr_expect_eq(field_number(o, "real"), 0.5);
    cr_expect_eq(field_number(o, "less"), -1);
    cr_expect_eq(field_number(o, "null"), -1);
    cr_expect_eq(field_number(o, "text"), -1);
    cr_expect_eq(field_number(json_object_get(o, "object"), "int"), -1);
    cr_expect_eq(field_number(NULL, "int"), -1);
    cr_expect_str_eq(field_text(NULL, "int"), "");
    json_decref(o);
}

Test(field, times)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:i}", "at", "1970-01-02T00:00:01.999Z", "bad",
                          "yesterday", "worse", "9999999999999-01-01T00:00:00Z", "number", 7);

    cr_expect_eq(field_time(o, "at"), 86401);
    cr_expect_eq(field_time(o, "bad"), -1);
    cr_expect_eq(field_time(o, "worse"), -1);
    cr_expect_eq(field_time(o, "number"), -1);
    cr_expect_eq(field_time(o, "none"), -1);
    json_decref(o);
}
