"""Checks Deploy/ as far as that is possible without an engine: compose.yaml against the Compose specification (compose-spec), the
manifests against the schemas of Kubernetes (kubernetes-validate), and both against themselves: what a name, a port or a probe refers to
exists. Prints the settings that each node would get, which the test in Swift compares with those that the server has.

    python deploy.py Deploy
"""

import json
import pathlib
import re
import sys

import deploy_compose
import deploy_kubernetes
from deploy_support import Problems


def check_dockerfile(directory, problems):
    """Returns the settings of the image."""
    text = re.sub(r"#.*", "", (directory / "Dockerfile").read_text()).replace("\\\n", " ")
    stages = re.split(r"^FROM ", text, flags=re.M)[1:]
    problems.check(len(stages) == 2 and not stages[-1].startswith("swift"), "Dockerfile: the program is not built in a stage of its own")
    last = stages[-1]
    user = re.findall(r"^USER (\d+)", last, re.M)
    problems.check(user and user[-1] != "0", "Dockerfile: runs as root")
    settings = dict(re.findall(r"(APUS_\w+)=(\S+)", last))
    ports = {address.rpartition(":")[2] for name, address in settings.items() if re.search(r":\d+$", address)}
    exposed = set(" ".join(re.findall(r"^EXPOSE (.*)", last, re.M)).split())
    problems.check(ports == exposed, f"Dockerfile: listens on {sorted(ports)}, exposes {sorted(exposed)}")
    health = re.search(r"HEALTHCHECK.*http://127\.0\.0\.1:(\d+)/readyz", last)
    problems.check(health and settings["APUS_HTTP"].endswith(":" + health[1]), "Dockerfile: the health check does not ask /readyz of APUS_HTTP")
    return settings


def main():
    directory = pathlib.Path(sys.argv[1])
    problems = Problems()
    image = check_dockerfile(directory, problems)
    nodes = {"Dockerfile": image}
    nodes.update(deploy_compose.check(directory, image, problems))
    nodes.update(deploy_kubernetes.check(directory / "kubernetes", image, problems))
    print(json.dumps({"nodes": nodes, "problems": problems.found}))


main()
