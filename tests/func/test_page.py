"""The status page, as people see it: in a browser, light and dark, wide and narrow."""
import os
import re
import signal

import proc
from browser import Browser
from harness import (Master, check, diag, equal, folder, matches, pool, server, sleeper, talker,
                     timeout, wait_until, write)

SHOTS = os.environ.get("SCREENSHOTS")  # a folder that keeps what the browser showed


def shoot(browser, name):
    path = os.path.join(SHOTS or folder(), f"{name}.png")
    browser.screenshot(path)
    check(os.path.getsize(path) > 5000, f"{path} is empty")


def url(m):
    return f"http://127.0.0.1:{m.health_port()}/"


def row(slot, column, name="web"):
    return (f"(document.querySelectorAll('section[data-pool=\"{name}\"] tbody tr')[{slot}]"
            f"?.children[{column}]?.textContent ?? '')")


@timeout(120)
def test_response():
    """One response without anything from elsewhere, for GET and HEAD, with a policy of its own"""
    with Master("-w", "1", "--", *sleeper()) as m:
        m.wait_ready()
        page = m.health("/")
        equal(page.status, 200, "status")
        equal(page.headers["content-type"], "text/html; charset=utf-8", "type")
        policy = page.headers["content-security-policy"]
        matches(policy, r"^default-src 'none'; style-src 'sha256-\S{44}'; script-src 'sha256-", "policy")
        check("unsafe" not in policy, policy)
        head = m.health("/", method="HEAD")
        equal((head.status, head.body, head.headers["content-length"]),
              (200, "", page.headers["content-length"]), "HEAD")
        check(not re.search(r"(src|href)=\"(https?:)?//", page.body), "something from elsewhere")
        check(len(page.body) < 40000, f"{len(page.body)} bytes")


@timeout(180)
def test_live():
    """It follows a worker that is killed, a reload and a slot that fails, without a console error"""
    config = (pool("web", listen="127.0.0.1:0", workers=3, min_uptime="50ms") +
              pool("jobs", sleeper(), workers=1))
    with Master(config=config) as m:
        m.wait_ready()
        with Browser() as browser:
            browser.open(url(m))
            victim = m.in_slot(1, "web")
            browser.wait(f"{row(1, 2)} == '{victim}'", "the process of a slot", timeout=60)
            equal(browser.run("document.querySelector('#state').textContent"), "running", "state")
            os.kill(victim, signal.SIGKILL)
            browser.wait(f"{row(1, 8)} == '1'", "the restart is counted")
            matches(browser.run(row(1, 9)), "signal, signal KILL", "last exit")
            browser.wait(f"{row(1, 2)} == '{m.in_slot(1, 'web')}'", "the next process")
            m.reload()
            browser.wait(f"{row(0, 3)} == '2'", "the next generation")
            browser.wait("document.querySelector('#master').textContent.includes('reloaded at')",
                         "the reload")
            points = "document.querySelector('polyline').getAttribute('points').split(' ').length"
            browser.wait(f"{points} >= 4", "a history")
            shoot(browser, "light")
            write(os.path.basename(m.config_path), config.replace("[pool:jobs]", "[pool:other]"))
            m.reload()
            browser.wait("[...document.querySelectorAll('h2')].map((h) => h.textContent.split(' ')[0])"
                         ".join() == 'web,other'", "pools come and go")
            asked = set(browser.requests())
            equal(asked - {"about:blank", url(m), url(m) + "status"}, set(), "what was asked for")
            equal(browser.complaints(), [], "console")
            m.stop()
            browser.wait("!document.querySelector('#trouble').hidden", "the master is gone")
            matches(browser.run("document.querySelector('#trouble').textContent"), "does not answer",
                    "trouble")


@timeout(180)
def test_hostile_text():
    """What a worker says is text and nothing else"""
    worker = talker(b"STATUS=<img src=x onerror=alert(1)><script>alert(2)</script>\xff")
    with Master("-w", "1", "--ready", "notify", "--", *worker) as m:
        m.wait_ready()
        with Browser(width=390, height=800) as browser:
            browser.open(url(m))
            browser.wait(f"{row(0, 10, 'main')}.startsWith('<img src=x onerror=')", "the text",
                         timeout=60)
            equal(browser.run("document.querySelectorAll('img, script').length"), 1, "elements")
            equal(browser.complaints(), [], "console")


@timeout(180)
def test_looks():
    """Dark and narrow: it follows the scheme, and nothing is wider than a phone"""
    config = (pool("web", listen="127.0.0.1:0", workers=4) +
              pool("failing-pool", server("--crash-start=3", "--only-slot=1"), workers=2,
                   listen="127.0.0.1:0", backoff="1h", backoff_max="1h"))
    with Master(config=config) as m:
        wait_until(lambda: m.count_log("ready after") == 5 and m.count_log("next start in"), "workers")
        for name, options in {"dark": {"dark": True}, "narrow": {"width": 390, "height": 1400},
                              "narrow-dark": {"width": 390, "height": 1400, "dark": True}}.items():
            with Browser(**options) as browser:
                browser.open(url(m))
                browser.wait("document.querySelectorAll('tbody tr').length == 6", "rows", timeout=60)
                browser.wait("document.querySelector('polyline').getAttribute('points')"
                             ".split(' ').length >= 3", "a history")
                wide = browser.run("document.documentElement.scrollWidth - innerWidth")
                check(wide <= 0, f"{name}: {wide} pixels too wide")
                back = browser.run("getComputedStyle(document.body).backgroundColor")
                light = sum(int(x) for x in re.findall(r"\d+", back)[:3]) > 380
                equal(light, "dark" not in name, f"{name}: background {back}")
                equal(browser.complaints(), [], f"{name}: console")
                shoot(browser, name)
        diag(f"master {proc.rss_kb(m.pid)} kB with the page in view")
        m.send(signal.SIGQUIT)
        m.wait()
