"""The checks of Deploy/compose.yaml and what it mounts."""

import json
import os
import re
import subprocess
import tempfile

import yaml
from compose_spec import PyCompose

from deploy_support import AFTER_DRAIN_SECONDS, ROLES, hosts_of, port_of


def make_environment(directory, registry):
    """What make-secrets.sh writes."""
    with tempfile.TemporaryDirectory() as temporary:
        output = os.path.join(temporary, ".env")
        command = [directory / "make-secrets.sh", "--registry", registry, "--host", "chat.test", "--output", output]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        with open(output) as lines:
            return dict(line.rstrip("\n").split("=", 1) for line in lines if re.match(r"\w+=", line))


def interpolate(value, environment, problems):
    """`value` as Compose would read it: $NAME, ${NAME}, ${NAME:-default}, ${NAME:?message}, $$."""
    if isinstance(value, dict):
        return {key: interpolate(item, environment, problems) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, environment, problems) for item in value]
    if not isinstance(value, str):
        return value

    def replace(match):
        if match[0] == "$$":
            return "$"
        name, operator, argument = match["name"], match["operator"], match["argument"]
        if environment.get(name):
            return environment[name]
        problems.check(operator == ":-", f"compose.yaml: make-secrets.sh does not write {name}")
        return argument or ""

    return re.sub(r"\$\$|\$\{(?P<name>\w+)(?:(?P<operator>:[-?])(?P<argument>[^}]*))?\}", replace, value)


def check(directory, image, problems):
    """Returns the settings of every node, for each registry."""
    text = (directory / "compose.yaml").read_text()
    nodes = {}
    for registry in ["zookeeper", "nacos"]:
        environment = make_environment(directory, registry)
        check_secrets(directory, text, registry, environment, problems)
        compose = interpolate(yaml.safe_load(text), environment, problems)
        try:
            PyCompose.from_json(json.dumps(compose)).validate()
        except ValueError as error:
            problems.found.append(f"compose.yaml: not what the Compose specification says: {error}")
        profiles = environment["COMPOSE_PROFILES"].split(",")
        services = {
            name: service for name, service in compose["services"].items()
            if not service.get("profiles") or set(service["profiles"]) & set(profiles)
        }
        nodes.update(Cluster(f"compose.yaml with {registry}", compose, services, image, problems).check())
        check_entrance(directory, services, image, problems)
    return nodes


def check_secrets(directory, text, registry, environment, problems):
    again = make_environment(directory, registry)
    for name, value in environment.items():
        if re.search("SECRET|PASSWORD|KEY|IDENTITY", name):
            problems.check(len(value) >= 32 and value != again[name], f"make-secrets.sh: {name} is not random")
    for name, value in re.findall(r"^ +(\w*(?:PASSWORD|SECRET|TOKEN|REDISCLI_AUTH|IDENTITY_VALUE)\w*): (.*)$", text, re.M):
        problems.check(re.match(r"\$\{\w+:\?", value), f"compose.yaml: {name} has a default")


def check_entrance(directory, services, image, problems):
    text = (directory / "entrance.cfg").read_text()
    host, port = re.search(r"server-template \S+ \d+ ([\w-]+):(\d+)", text).groups()
    problems.check(host in services, f"entrance.cfg: there is no service {host}")
    problems.check(int(port) == port_of(image["APUS_GATEWAY"]), f"entrance.cfg: the gateways do not listen on {port}")
    bound = re.search(r"frontend entrance\n\s+bind :(\d+)", text)[1]
    published = [port.split(":")[1] for port in services["entrance"]["ports"]]
    problems.check(published == [bound], f"compose.yaml: the entrance listens on {bound}, published is {published}")


class Cluster:
    def __init__(self, name, compose, services, image, problems):
        self.name, self.compose, self.services, self.image, self.problems = name, compose, services, image, problems

    def check_that(self, condition, problem):
        return self.problems.check(condition, f"{self.name}: {problem}")

    def check(self):
        counts = dict.fromkeys(ROLES, 0)
        nodes = {}
        for name, service in self.services.items():
            self.check_image(name, service)
            self.check_dependencies(name, service)
            settings = {**self.image, **service.get("environment", {})}
            if "APUS_ROLES" not in settings:
                continue
            for role in settings["APUS_ROLES"].split(","):
                counts[role] += service.get("deploy", {}).get("replicas", 1)
            # What the shell of the entry point adds.
            for variable, value in re.findall(r'(APUS_\w+)="([^"]*)"', " ".join(service.get("entrypoint", []))):
                settings[variable] = value.replace("$(hostname -i)", "10.0.0.1")
            settings = {variable: str(value) for variable, value in settings.items()}
            self.check_node(name, service, settings)
            nodes[f"{self.name}: {name}"] = settings
        for role, count in counts.items():
            self.check_that(count >= 2, f"{count} nodes of role {role}")
        published = {port.split(":")[0]: name for name, service in self.services.items() for port in service.get("ports", [])}
        for port, name in published.items():
            self.check_that(name == "entrance" or name.startswith("socket-"), f"{name} is reachable from outside on port {port}")
        self.check_store()
        subnet = self.compose["networks"]["inside"]["ipam"]["config"][0]["subnet"]
        for name, settings in nodes.items():
            self.check_that(settings["APUS_HTTP_TRUSTED_PROXIES"] == subnet, f"{name} does not trust the addresses of {subnet}")
        return nodes

    def check_image(self, name, service):
        tag = service["image"].partition(":")[2]
        self.check_that(tag and tag != "latest", f"{name}: the version of {service['image']} is not said")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            self.check_that(source.startswith("./") or source in self.compose["volumes"], f"{name}: there is no volume {source}")

    def check_dependencies(self, name, service):
        for other, dependency in service.get("depends_on", {}).items():
            if other not in self.services:
                known = other in self.compose["services"] and dependency.get("required") is False
                self.check_that(known, f"{name} depends on {other}, which does not run")
            elif dependency["condition"] == "service_healthy":
                ours = self.services[other]["image"] == self.services["gateway"]["image"]
                self.check_that(ours or "healthcheck" in self.services[other], f"{other} has no health check, for which {name} waits")

    def check_node(self, name, service, settings):
        roles = settings["APUS_ROLES"].split(",")
        for variable in ["APUS_CLUSTER_STORE", "APUS_CLUSTER_REDIS", "APUS_CLUSTER_REGISTRY"]:
            for host, port in hosts_of(settings[variable]):
                self.check_host(name, service, f"{variable} says", host, port)
        endpoint = re.search(r"endpoint=(\S+)", settings["APUS_OBJECTS_STORE"])[1]
        for host, port in hosts_of(endpoint):
            self.check_host(name, service, "APUS_OBJECTS_STORE says", host, port)
        for variable, listener in [("APUS_HTTP_ADVERTISE", "APUS_HTTP"), ("APUS_PEER_ADVERTISE", "APUS_PEER")]:
            if variable in settings:
                host, port = hosts_of(settings[variable])[0]
                self.check_that(host in (name, "10.0.0.1"), f"{name} advertises {host}, which is another")
                self.check_that(port == port_of(settings[listener]), f"{name} advertises port {port}, and listens on {settings[listener]}")
        if set(roles) & {"auth", "user", "web", "socket"}:
            self.check_that("APUS_HTTP_ADVERTISE" in settings, f"{name} does not say where its HTTP API is")
        if "socket" in roles:
            self.check_published(name, service, settings["APUS_SOCKET_ADVERTISE_URL"], settings["APUS_SOCKET"])
            self.check_published(name, service, settings["APUS_TCP_ADVERTISE"], settings["APUS_TCP"])
        probed = " ".join(service.get("healthcheck", {}).get("test", [])) or f"http://127.0.0.1:{port_of(self.image['APUS_HTTP'])}/readyz"
        expected = port_of(settings["APUS_GATEWAY" if roles == ["gateway"] else "APUS_HTTP"])
        self.check_that(f":{expected}/readyz" in probed, f"{name}: the health check does not ask /readyz on port {expected}")
        grace = int(service["stop_grace_period"].rstrip("s"))
        self.check_that(
            grace >= int(settings["APUS_DRAIN_SECONDS"]) + AFTER_DRAIN_SECONDS, f"{name} is killed after {grace} s, before it has drained")

    def check_host(self, name, service, said, host, port):
        if not self.check_that(host in self.services, f"{name}: {said} {host}, which does not run"):
            return
        other = self.services[host]
        self.check_that(str(port) in other.get("expose", []), f"{name}: {said} {host}:{port}, which is not exposed")
        self.check_that(set(service["networks"]) & set(other["networks"]), f"{name} and {host} have no network in common")

    def check_published(self, name, service, advertised, listener):
        host, port = hosts_of(advertised)[0]
        self.check_that(host == "chat.test", f"{name} tells clients to connect to {host}")
        ports = dict(reversed(pair.split(":")) for pair in service["ports"])
        self.check_that(
            ports.get(str(port_of(listener))) == str(port), f"{name} tells clients to connect to port {port}, published are {service['ports']}")

    def check_store(self):
        flags = self.services["mariadb"]["command"]
        for flag in ["--innodb-flush-log-at-trx-commit=1", "--character-set-server=utf8mb4"]:
            self.check_that(flag in flags, f"mariadb runs without {flag}")
