"""Kubernetes: the manifests fit together, and a pod's life as they order it loses nothing. The kubelet
and the load balancer are played here; each pod has a loopback address of its own."""
import configparser
import glob
import os
import re
import signal
import subprocess
import sys
import threading
import time

from harness import (QUICK, TOP, Hammer, Master, check, diag, equal, free_port, parse_reply, quoted,
                     read_all, server, skip, timeout, wait_until)
from harness import connect as dial

FOLDER = f"{TOP}/deploy/kubernetes"
UPDATES = 3 if QUICK else 20
ENDPOINT_LAG_S = 1  # until a load balancer knows of a change


def manifests():
    """{kind: document} of the base."""
    try:
        import yaml
    except ImportError:
        skip("no python3-yaml here")
    found = {}
    for path in glob.glob(f"{FOLDER}/*.yaml"):
        with open(path, encoding="utf-8") as file:
            for document in yaml.safe_load_all(file):
                check(document["kind"] not in found, f"two of {document['kind']}")
                found[document["kind"]] = document
    return found


def settings():
    """The sections of the pods' configuration."""
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.read(f"{FOLDER}/preforkd.conf")
    return parser


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h|)", text).groups()
    return int(number) * {"ms": 0.001, "s": 1, "": 1, "m": 60, "h": 3600}[unit]


# ---- the manifests

def test_manifests():
    """Names, labels, ports and times of the manifests and of the configuration agree"""
    kinds = manifests()
    pod = kinds["Deployment"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    labels = kinds["Deployment"]["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}

    files = {os.path.basename(path) for path in glob.glob(f"{FOLDER}/*.yaml")}
    equal(set(kinds["Kustomization"]["resources"]), files - {"kustomization.yaml"}, "resources")
    for selector in (kinds["Deployment"]["spec"]["selector"]["matchLabels"],
                     kinds["Service"]["spec"]["selector"],
                     kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
                     kinds["PodMonitor"]["spec"]["selector"]["matchLabels"]):
        equal(selector, labels, "selector")
    equal(kinds["Service"]["spec"]["ports"][0]["targetPort"], "http", "port of the service")
    equal(ports["http"], int(settings()["pool:web"]["listen"]), "port of the pool")
    equal(ports["health"], 8900, "port of the health pages")
    for name, path in (("startup", "startup"), ("liveness", "liveness"), ("readiness", "readiness")):
        probe = container[f"{name}Probe"]["httpGet"]
        equal((probe["path"], probe["port"]), (f"/healthz/{path}", "health"), f"{name} probe")
    equal(kinds["PodMonitor"]["spec"]["podMetricsEndpoints"][0]["port"], "health", "metrics")

    target = kinds["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    equal((target["kind"], target["name"]), ("Deployment", kinds["Deployment"]["metadata"]["name"]),
          "what is scaled")
    check(kinds["PodDisruptionBudget"]["spec"]["maxUnavailable"] <
          kinds["HorizontalPodAutoscaler"]["spec"]["minReplicas"], "all pods may be evicted at once")

    maps = kinds["Kustomization"]["configMapGenerator"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    equal({mount["name"] for mount in container["volumeMounts"]}, set(volumes), "volumes")
    equal(volumes["config"]["configMap"]["name"], maps[0]["name"], "the configuration's volume")
    equal(container["command"][-1], "/etc/preforkd/" + maps[0]["files"][0], "configuration")
    check(pod["securityContext"]["runAsNonRoot"] and
          not container["securityContext"]["allowPrivilegeEscalation"], "rights")

    conf = settings()
    drain = seconds(conf["preforkd"].get("drain-delay", "5s"))
    stop = seconds(conf["pool:web"]["stop-timeout"])
    check(pod["terminationGracePeriodSeconds"] >= drain + stop + 5,
          "the grace period ends before drain-delay and stop-timeout")


def test_metric():
    """The metric that the autoscaler asks for is there"""
    metrics = manifests()["HorizontalPodAutoscaler"]["spec"]["metrics"]
    name = next(m["pods"]["metric"]["name"] for m in metrics if m["type"] == "Pods")
    with Master("-w", "2", "-l", "127.0.0.1:0", "--", *server()) as m:
        m.wait_ready()
        check(re.search(rf"^{name}\{{", m.health("/metrics").body, re.MULTILINE), f"no {name}")


# ---- a pod's life

class Pod(Master):
    """A container with the base's configuration, but for addresses, command and number of CPUs."""

    def __init__(self, number, spec):
        self.ip = f"127.60.{number // 250}.{number % 250 + 1}"
        self.spec = spec["containers"][0]
        self.grace = spec["terminationGracePeriodSeconds"]
        self.ready = False
        with open(f"{FOLDER}/preforkd.conf", encoding="utf-8") as file:
            text = file.read()
        for pattern, value in ((r"^control = .*", "control = off"),
                               (r"^command = .*", f"command = {quoted(server())}"),
                               (r"^listen = 8080", f"listen = {self.ip}:8080"),
                               (r"^workers = auto", "workers = 2")):
            text, count = re.subn(pattern, value, text, flags=re.MULTILINE)
            equal(count, 1, f"lines of the configuration like {pattern}")
        super().__init__(config=text, health=f"{self.ip}:8900",
                         env={"KUBERNETES_SERVICE_HOST": "10.0.0.1"})

    def probe(self, name):
        """Whether one probe succeeds."""
        probe = self.spec[f"{name}Probe"]
        try:
            with dial(f"{self.ip}:8900", probe["timeoutSeconds"]) as sock:
                sock.sendall(f"GET {probe['httpGet']['path']} HTTP/1.1\r\nHost: {self.ip}:8900\r\n"
                             "User-Agent: kube-probe/1.30\r\nAccept: */*\r\n"
                             "Connection: close\r\n\r\n".encode())
                return 200 <= parse_reply(read_all(sock)).status < 400
        except OSError:
            return False

    def run_until_ready(self):
        """What the kubelet does after the start of the container."""
        self.start()
        probe = self.spec["startupProbe"]
        for attempt in range(probe["failureThreshold"]):
            if self.probe("startup"):
                break
            time.sleep(probe["periodSeconds"])
            check(attempt + 1 < probe["failureThreshold"], "the startup probe gave up")
        check(self.probe("liveness"), "not alive after the start")
        wait_until(lambda: self.probe("readiness"), "ready after the start")

    def terminate(self):
        """TERM, and what the kubelet would do when it takes too long; meanwhile not ready."""
        began = time.monotonic()
        self.send(signal.SIGTERM)
        wait_until(lambda: not self.probe("readiness"), "not ready after TERM")
        equal(self.wait(self.grace), 0, "exit status of a pod")
        return time.monotonic() - began


class Service:
    """The load balancer, which hears of a change late."""

    def __init__(self):
        self.port = free_port()
        self.pods = []
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "balancer.py")
        self.process = subprocess.Popen([sys.executable, path, str(self.port)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def tell(self):
        self.process.stdin.write(" ".join(f"{pod.ip}:8080" for pod in self.pods) + "\n")
        self.process.stdin.flush()
        equal(self.process.stdout.readline(), "ok\n", "the balancer's answer")

    def add(self, pod):
        self.pods.append(pod)
        self.tell()

    def remove(self, pod):
        self.pods.remove(pod)
        time.sleep(ENDPOINT_LAG_S)
        self.tell()

    def end(self):
        self.process.stdin.close()
        self.process.wait(10)


class Termination(threading.Thread):
    """The end of a pod beside all else."""

    def __init__(self, pod):
        super().__init__()
        self.pod, self.took, self.error = pod, 0, None
        self.start()

    def run(self):
        try:
            self.took = self.pod.terminate()
        except Exception as why:
            self.error = why

    def result(self):
        self.join()
        if self.error:
            raise self.error
        return self.took


@timeout(900)
def test_rolling_updates():
    """Rolling updates under load: no request is lost, every pod ends in its grace period"""
    spec = manifests()["Deployment"]["spec"]["template"]["spec"]
    service, endings, number = Service(), [], 0
    for number in range(2):
        pod = Pod(number, spec)
        pod.run_until_ready()
        service.add(pod)
    with Hammer(f"127.0.0.1:{service.port}", clients=4, seconds=600) as load:
        for _ in range(UPDATES):
            for old in list(service.pods):  # maxSurge 1, maxUnavailable 0
                number += 1
                new = Pod(number, spec)
                new.run_until_ready()
                service.add(new)
                check(old.probe("liveness"), "a pod is not alive")
                endings.append(Termination(old))
                service.remove(old)
        took = [ending.result() for ending in endings]
        load.expect_clean()
    diag(f"{UPDATES} rolling updates of 2 pods; a pod took {min(took):.1f} to {max(took):.1f} s to "
         f"end, of {spec['terminationGracePeriodSeconds']} s")
    for ending in [Termination(pod) for pod in service.pods]:
        ending.result()
    service.end()


@timeout(180)
def test_slow_requests():
    """A request under way when its pod is told to end is answered"""
    spec = manifests()["Deployment"]["spec"]["template"]["spec"]
    pod = Pod(0, spec)
    pod.write_config(open(pod.config_path, encoding="utf-8").read().replace(
        quoted(server()), quoted(server("--request-delay=8000"))))
    pod.args[pod.args.index("--config") + 1] = pod.config_path
    pod.run_until_ready()
    with dial(f"{pod.ip}:8080", 60) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        took = pod.terminate()
        equal(parse_reply(read_all(sock)).status, 200, "status")
    diag(f"the pod waited {took:.1f} s for its request")
