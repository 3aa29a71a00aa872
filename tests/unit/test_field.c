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
