"""The checks of Deploy/kubernetes/."""

import re

import kubernetes_validate
import yaml

from deploy_support import AFTER_DRAIN_SECONDS, ROLES, port_of

VERSION = "1.31"
WORKLOADS = ["Deployment", "StatefulSet"]


def check(directory, image, problems):
    """Returns the settings of every node."""
    kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text())
    files = {path.name for path in directory.glob("*.yaml")} - {"kustomization.yaml", "secret.template.yaml"}
    problems.check(set(kustomization["resources"]) == files, "kustomization.yaml does not name the manifests beside it")
    objects = []
    for name in sorted(files | {"secret.template.yaml"}):
        for manifest in yaml.safe_load_all((directory / name).read_text()):
            try:
                kubernetes_validate.validate(manifest, VERSION, strict=True)
            except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
                problems.found.append(f"kubernetes/{name}: {manifest.get('kind')}: {getattr(error, 'message', error)}")
                continue
            objects.append((name, manifest))
    return Manifests(objects, image, problems).check()


class Manifests:
    def __init__(self, objects, image, problems):
        self.objects, self.image, self.problems = objects, image, problems

    def check_that(self, condition, problem):
        return self.problems.check(condition, f"kubernetes: {problem}")

    def of_kind(self, *kinds):
        return [manifest for _, manifest in self.objects if manifest["kind"] in kinds]

    def named(self, kind, name):
        return next((manifest for manifest in self.of_kind(kind) if manifest["metadata"]["name"] == name), None)

    def check(self):
        for _, manifest in self.objects:
            if manifest["kind"] != "Namespace":
                self.check_that(manifest["metadata"].get("namespace") == "apus", f"{describe(manifest)} is in no namespace")
        names = {workload["metadata"]["name"] for workload in self.of_kind(*WORKLOADS)}
        self.check_that(names == set(ROLES), f"the workloads are {sorted(names)}, the roles {ROLES}")
        secrets = self.of_kind("Secret")
        self.check_that([name for name, manifest in self.objects if manifest["kind"] == "Secret"] == ["secret.template.yaml"], "a Secret is no template")
        for key, value in [pair for secret in secrets for pair in secret["stringData"].items()]:
            self.check_that("REPLACE" in value or key == "registry", f"the template of the Secret has a value for {key}")
            self.check_that(key != "secret" or len(value) < 32, "the template's cluster secret would start a node")
        nodes = {f"kubernetes: {workload['metadata']['name']}": self.check_workload(workload) for workload in self.of_kind(*WORKLOADS)}
        self.check_services()
        self.check_scaling()
        self.check_ingresses()
        self.check_policies()
        self.check_socket_addresses(nodes["kubernetes: socket"])
        return nodes

    def check_workload(self, workload):
        name, pod = workload["metadata"]["name"], workload["spec"]["template"]
        spec, container = pod["spec"], pod["spec"]["containers"][0]
        labels = workload["spec"]["selector"]["matchLabels"]
        self.check_that(labels.items() <= pod["metadata"]["labels"].items(), f"{name} does not select its own pods")
        self.check_that(spec["securityContext"]["runAsNonRoot"], f"{name} may run as root")
        self.check_that(spec.get("enableServiceLinks") is False, f"{name} gets variables of service links")
        settings = self.environment(name, container)
        self.check_that(settings["APUS_ROLES"] == name, f"{name} has the roles {settings['APUS_ROLES']}")

        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for port, number in ports.items():
            listener = settings["APUS_" + port.upper()]
            self.check_that(number == port_of(listener), f"{name}: port {port} is {number}, the listener {listener}")
        expected = "gateway" if name == "gateway" else "http"
        for probe, path in [("readinessProbe", "/readyz"), ("livenessProbe", "/healthz"), ("startupProbe", "/healthz")]:
            asked = container[probe]["httpGet"]
            self.check_that((asked["path"], asked["port"]) == (path, expected), f"{name}: {probe} asks {asked}, not {path} on port {expected}")
        self.check_that(expected in ports, f"{name} has no port {expected}")

        hook = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
        needed = int(hook[1]) + int(settings["APUS_DRAIN_SECONDS"]) + AFTER_DRAIN_SECONDS
        grace = spec["terminationGracePeriodSeconds"]
        self.check_that(grace >= needed, f"{name} is killed after {grace} s and may need {needed}")
        if name != "gateway":
            self.check_that(settings.get("APUS_HTTP_ADVERTISE") == f"10.0.0.1:{ports['http']}", f"{name} does not advertise its HTTP API")
        if name == "socket":
            self.check_that(settings.get("APUS_PEER_ADVERTISE") == f"10.0.0.1:{ports['peer']}", "socket does not advertise where peers find it")
        return {variable: value for variable, value in settings.items() if variable.startswith("APUS_")}

    def environment(self, name, container):
        settings = dict(self.image)
        for source in container.get("envFrom", []):
            config = self.named("ConfigMap", source["configMapRef"]["name"])
            if self.check_that(config, f"{name}: there is no {source}"):
                settings.update(config["data"])
        samples = {"status.podIP": "10.0.0.1", "metadata.name": f"{name}-0"}
        for variable in container["env"]:
            value = variable.get("value")
            if value is None and "fieldRef" in variable["valueFrom"]:
                value = samples[variable["valueFrom"]["fieldRef"]["fieldPath"]]
            elif value is None:
                reference = variable["valueFrom"]["secretKeyRef"]
                secret = self.named("Secret", reference["name"])
                if not self.check_that(secret and reference["key"] in secret["stringData"], f"{name}: there is no {reference}"):
                    continue
                value = secret["stringData"][reference["key"]].replace("REPLACE", "0123456789abcdef0123456789abcdef")

            def expand(match):
                self.check_that(match[1] in settings, f"{name}: {variable['name']} uses {match[1]}, which is not set before it")
                return settings.get(match[1], "")

            settings[variable["name"]] = re.sub(r"\$\((\w+)\)", expand, value)
        return settings

    def pods_of(self, selector):
        """The workloads whose pods have these labels."""
        found = []
        for workload in self.of_kind(*WORKLOADS):
            labels = dict(workload["spec"]["template"]["metadata"]["labels"])
            pod = selector.get("statefulset.kubernetes.io/pod-name", "")
            if workload["kind"] == "StatefulSet" and re.fullmatch(workload["metadata"]["name"] + r"-\d+", pod):
                labels["statefulset.kubernetes.io/pod-name"] = pod
            if selector.items() <= labels.items():
                found.append(workload)
        return found

    def check_services(self):
        for service in self.of_kind("Service"):
            pods = self.pods_of(service["spec"]["selector"])
            if not self.check_that(len(pods) == 1, f"{describe(service)} selects {[describe(pod) for pod in pods]}"):
                continue
            ports = {port["name"]: port["containerPort"] for port in pods[0]["spec"]["template"]["spec"]["containers"][0]["ports"]}
            for port in service["spec"]["ports"]:
                self.check_that(ports.get(port["targetPort"]) == port["port"], f"{describe(service)}: {describe(pods[0])} has no such port: {port}")
        for workload in self.of_kind("StatefulSet"):
            self.check_that(self.named("Service", workload["spec"]["serviceName"]), f"{describe(workload)} has no Service for its names")

    def check_scaling(self):
        for budget in self.of_kind("PodDisruptionBudget"):
            self.check_that(len(self.pods_of(budget["spec"]["selector"]["matchLabels"])) == 1, f"{describe(budget)} protects nothing")
        self.check_that(len(self.of_kind("PodDisruptionBudget")) == len(ROLES), "a role has no PodDisruptionBudget")
        scaled = set()
        for scaler in self.of_kind("HorizontalPodAutoscaler"):
            target = scaler["spec"]["scaleTargetRef"]
            scaled.add(target["name"])
            self.check_that(self.named(target["kind"], target["name"]), f"{describe(scaler)} scales {target}, which is not there")
        self.check_that(scaled == {"gateway", "socket"}, f"scaled are {sorted(scaled)}")
        for workload in self.of_kind(*WORKLOADS):
            counted = workload["metadata"]["name"] in scaled
            self.check_that(counted != ("replicas" in workload["spec"]), f"{describe(workload)}: its replicas are counted twice, or not at all")

    def check_ingresses(self):
        for ingress in self.of_kind("Ingress"):
            hosts = [host for tls in ingress["spec"]["tls"] for host in tls["hosts"]]
            for rule in ingress["spec"]["rules"]:
                wildcard = "*." + rule["host"].partition(".")[2]
                self.check_that({rule["host"], wildcard} & set(hosts), f"{describe(ingress)}: no certificate for {rule['host']}")
                for path in rule["http"]["paths"]:
                    backend = path["backend"]["service"]
                    service = self.named("Service", backend["name"])
                    found = service and backend["port"]["name"] in [port["name"] for port in service["spec"]["ports"]]
                    self.check_that(found, f"{describe(ingress)}: there is no {backend}")

    def check_policies(self):
        for policy in self.of_kind("NetworkPolicy"):
            pods = self.pods_of(policy["spec"]["podSelector"].get("matchLabels", {}))
            self.check_that(pods, f"{describe(policy)} selects nothing")
            ports = {port["containerPort"] for pod in pods for port in pod["spec"]["template"]["spec"]["containers"][0]["ports"]}
            for rule in policy["spec"].get("ingress", []):
                for port in rule["ports"]:
                    self.check_that(port["port"] in ports, f"{describe(policy)} opens {port['port']}, on which none of its pods listens")

    def check_socket_addresses(self, settings):
        """Every pod that the autoscaler may start has the address that it advertises."""
        scaler = self.named("HorizontalPodAutoscaler", "socket")
        rules = {rule["host"]: rule for rule in self.named("Ingress", "socket")["spec"]["rules"]}
        for ordinal in range(scaler["spec"]["maxReplicas"]):
            host, _, path = settings["APUS_SOCKET_ADVERTISE_URL"].removeprefix("wss://").replace("socket-0", f"socket-{ordinal}").partition("/")
            if self.check_that(host in rules, f"socket-{ordinal} advertises {host}, where nothing is"):
                target = rules[host]["http"]["paths"][0]
                service = self.named("Service", target["backend"]["service"]["name"])
                pod = service["spec"]["selector"].get("statefulset.kubernetes.io/pod-name")
                self.check_that(pod == f"socket-{ordinal}", f"{host} leads to {pod}")
                self.check_that(target["path"] == "/" + path, f"socket-{ordinal} advertises /{path}, the Ingress takes {target['path']}")


def describe(manifest):
    return f"{manifest['kind']} {manifest['metadata']['name']}"
