"""What the checks of Deploy/ share."""

import re


class Problems:
    """Everything that is wrong, not only the first of it."""

    def __init__(self):
        self.found = []

    def check(self, condition, problem):
        if not condition:
            self.found.append(problem)
        return bool(condition)


ROLES = ["gateway", "auth", "user", "web", "socket"]

# How long a node needs after its drain to finish what it has taken.
AFTER_DRAIN_SECONDS = 10


def port_of(address):
    return int(address.rpartition(":")[2])


def hosts_of(url):
    """The host and port pairs of a URL of a store or registry: without user, path and query."""
    authority = re.sub(r"^\w+://", "", url).split("/")[0].split("?")[0].rpartition("@")[2]
    return [(part.rpartition(":")[0], port_of(part)) for part in authority.split(",")]
