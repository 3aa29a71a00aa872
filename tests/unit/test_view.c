/* The status as people see it. */
#include <criterion/criterion.h>

#include "ctl/text.h"
#include "ctl/view.h"

TestSuite(view, .init = text_init);

/* Single quotes stand for double ones. */
static json_t *parse(const char *text)
{
    CLEANUP_BUF struct buf json = BUF_INIT;
    json_t *value;

    for (; *text; text++)
        buf_putc(&json, *text == '\'' ? '"' : *text);
    value = json_loads(buf_str(&json), 0, NULL);
    cr_assert(value, "%s", buf_str(&json));
    return value;
}

static const char whole[] =
    "{'version':'0.1.0','pid':4242,'uptime_s':9000.5,'state':'running','generation':3,"
    "'reload':{'result':'failed','reason':'web.0: exit "
    "1','at':'1970-01-01T00:15:40.500Z','duration_s':1.25},"
    "'pools':[{'name':'web','command':'node server.js','workers':3,'ready':2,"
    "'listeners':[{'address':'*:8080'},{'address':'unix:/run/x'}],'slots':["
    "{'slot':0,'state':'up','worker_state':'ready','pid':4300,'generation':3,'uptime_s':60,"
    "'restarts':0,'last_exit':{'reason':'exit','code':1,'at':'1970-01-01T00:10:00.000Z'},'queue':0,"
    "'rss_bytes':24117248,'cpu_s':2.5,'status':'idle','next_pid':null},"
    "{'slot':1,'state':'replacing','worker_state':'hung','pid':4301,'generation':2,'uptime_s':60,"
    "'restarts':1,'last_exit':{'reason':'signal','code':null,'signal':'KILL','at':'1970-01-01T00:"
    "16:39.9Z'},'queue':117,'rss_bytes':1024,'cpu_s':61,'status':'',"
    "'next_pid':4400},"
    "{'slot':2,'state':'backoff','worker_state':null,'pid':null,'generation':3,'uptime_s':0,"
    "'restarts':7,'last_exit':{'reason':'exit','code':1,'at':'1970-01-01T00:16:28Z'},'queue':3,'"
    "rss_bytes':0,"
    "'cpu_s':0,'status':null,'next_pid':null}]}]}";

static void expect_view(struct view v, const char *text)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    v.now_s = 1000;
    view_print(&v, &out);
    cr_expect_not(out.failed);
    cr_expect_str_eq(buf_str(&out), text, "\n%s", buf_str(&out));
}

Test(view, shows_all_there_is)
{
    json_t *status = parse(whole);

    expect_view(
        (struct view){.status = status},
        "preforkd 0.1.0[4242]: running, generation 3, up 2h30m\n"
        "last reload: failed, 1m00s ago, took 1.25s: web.0: exit 1\n"
        "web: 2/3 ready on *:8080, unix:/run/x: node server.js\n"
        "\n"
        "POOL  SLOT  STATE       PID  GEN  UPTIME  RESTARTS  QUEUE    CPU   RSS  NOTE\n"
        "web      0  up         4300    3   1m00s         0      0  2.50s   23M  idle\n"
        "web      1  replacing  4301    2   1m00s         1    117  1m01s  1.0K  hung, next 4400, "
        "signal KILL 1s ago\n"
        "web      2  backoff       -    3       -         7      3      -     -  exit 1 12s ago\n");
    json_decref(status);
}

Test(view, fits_the_terminal)
{
    json_t *status = parse(whole);

    expect_view((struct view){.status = status, .look.width = 40},
                "preforkd 0.1.0[4242]: running, generation 3, up 2h30m\n"
                "last reload: failed, 1m00s ago, took 1.25s: web.0: exit 1\n"
                "web: 2/3 ready on *:8080, unix:/run/x...\n"
                "\n"
                "POOL  SLOT  STATE      NOTE\n"
                "web      0  up         idle\n"
                "web      1  replacing  hung, next 440...\n"
                "web      2  backoff    exit 1 12s ago\n");
    json_decref(status);
}

Test(view, colours_states)
{
    json_t *status = parse("{'state':'running','pools':[{'name':'a','slots':["
                           "{'slot':0,'state':'up','worker_state':'hung'}]}]}");

    expect_view((struct view){.status = status, .look.colour = true, .look.width = 30},
                "preforkd -[-]: \033[32mrunning\033[0m, generation -, up -\n"
                "last reload: -\n"
                "a: -/- ready\n"
                "\n"
                "\033[1mPOOL\033[0m  \033[1mSLOT\033[0m  \033[1mSTATE\033[0m  \033[1mPID\033[0m  "
                "\033[1mNOTE\033[0m\n"
                "a        0  \033[31mup\033[0m       -  hung\n");
    json_decref(status);
}

/* The share of a processor needs the same process in both samples. */
Test(view, shares_of_a_processor)
{
    json_t *before = parse("{'pools':[{'name':'gone'},{'name':'a','slots':["
                           "{'slot':1,'pid':11,'cpu_s':5},{'slot':0,'pid':10,'cpu_s':1}]}]}");
    json_t *status = parse("{'pools':[{'name':'a','slots':["
                           "{'slot':0,'state':'up','pid':10,'cpu_s':2},"
                           "{'slot':1,'state':'up','pid':12,'cpu_s':7}]}]}");
    const struct view v = {.status = status, .before = before, .between_s = 2, .look.width = 55};

    expect_view(v, "preforkd -[-]: -, generation -, up -\n"
                   "last reload: -\n"
                   "a: -/- ready\n"
                   "\n"
                   "POOL  SLOT  STATE  PID  UPTIME  QUEUE  CPU  RSS  NOTE\n"
                   "a        0  up      10       -      -  50%    -\n"
                   "a        1  up      12       -      -    -    -\n");
    json_decref(before);
    json_decref(status);
}

Test(view, takes_anything)
{
    static const char *const hostile[] = {
        "{}",
        "{'version':7,'pid':'x','state':[],'reload':3,'pools':{}}",
        "{'pools':[1,null,{},{'name':{},'slots':[1,null,[],{}],'listeners':[1,{}]}]}",
        "{'version':'\\u001b[2J','state':'\\n\\n','pid':-1,'uptime_s':1e308,'generation':1e308,"
        "'reload':{'result':'\\u009b','reason':'\\u202e\\u007f','at':'9999-12-31T00:00:00Z\\u001b',"
        "'duration_s':1e308},"
        "'pools':[{'name':'\\u001b','command':'\\u001b','listeners':[{'address':'\\u001b'}],"
        "'slots':[{'state':'\\u001b','worker_state':'\\u001b','status':'\\u001b\\n',"
        "'pid':1,'last_exit':{'reason':'\\u001b','at':'1970-01-01T00:16:40Z'},'rss_bytes':1e308,'"
        "cpu_s':1e308}]}]}",
    };

    for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
        CLEANUP_BUF struct buf out = BUF_INIT;
        json_t *status = parse(hostile[i]);
        const struct view v = {.status = status, .now_s = 1000, .look.width = 80};

        view_print(&v, &out);
        for (size_t k = 0; k < out.len; k++)
            cr_expect(out.data[k] == '\n' || (out.data[k] >= 0x20 && out.data[k] < 0x7f),
                      "case %zu: byte %d", i, out.data[k]);
        cr_expect(strstr(buf_str(&out), "\n\nPOOL  SLOT  STATE "), "%s", buf_str(&out));
        json_decref(status);
    }
}

static void expect_reload(const char *reload, const char *line)
{
    CLEANUP_BUF struct buf json = BUF_INIT, out = BUF_INIT;
    const char *second;
    json_t *status;

    buf_printf(&json, "{'reload':%s}", reload);
    status = parse(buf_str(&json));
    view_print(&(struct view){.status = status, .now_s = 1000}, &out);
    second = strchr(buf_str(&out), '\n') + 1;
    cr_expect(str_after(second, line), "%s", second);
    json_decref(status);
}

Test(view, says_what_is_known_of_the_reload)
{
    expect_reload("{'result':'none','reason':'','at':null,'duration_s':0}", "last reload: none\n");
    expect_reload("{'result':'running','reason':'old','at':'1970-01-01T00:00:00Z','duration_s':2}",
                  "last reload: running for 2.00s\n");
    expect_reload("{'result':'ok','reason':'','at':'1970-01-01T00:16:00Z','duration_s':90}",
                  "last reload: ok, 40s ago, took 1m30s\n");
}

/* The note that is made of how a worker ended. */
static void expect_note(const char *last_exit, const char *note)
{
    CLEANUP_BUF struct buf json = BUF_INIT, out = BUF_INIT;
    const char *title;
    json_t *status;

    buf_printf(&json, "{'pools':[{'slots':[{'last_exit':%s}]}]}", last_exit);
    status = parse(buf_str(&json));
    view_print(&(struct view){.status = status, .now_s = 1000}, &out);
    title = strstr(buf_str(&out), "NOTE\n");
    cr_expect(strstr(title, note), "%s: %s", last_exit, title);
    json_decref(status);
}

Test(view, says_how_workers_ended)
{
    expect_note("{'reason':'exit','code':0,'at':'1970-01-01T00:16:30Z'}", "  exit 0 10s ago\n");
    expect_note("{'reason':'signal','signal':'SEGV','at':'1970-01-01T00:16:30Z'}",
                "  signal SEGV 10s ago\n");
    expect_note("{'reason':'oom','signal':'KILL','at':'1970-01-01T00:16:30Z'}", "  oom 10s ago\n");
    expect_note("{'reason':'reload','code':0,'at':'1970-01-01T00:16:30Z'}", "  -\n");
    expect_note("{'reason':'manual','code':0,'at':'1970-01-01T00:16:30Z'}", "  -\n");
    expect_note("{'reason':'exit','code':1,'at':'1970-01-01T00:00:00Z'}", "  -\n");
}
