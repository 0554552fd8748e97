"""DAG files as the planner writes them, and the rescue files that DAGMan leaves beside them."""

from __future__ import annotations

import time
from pathlib import Path


class Node:
    """A node of a DAG.

    Attributes
    ----------
    name : str
    submit_file : str
        Path of its submit file, from the submit directory.
    post : list of str
        Words of its POST script, empty if it has none.
    retry, tries : int
        How often it may be tried again, and how often it was.
    state : str
        waiting, ready, queued, post, done, failed or futile.
    error : str
        Why it failed.
    """

    def __init__(self, name: str, submit_file: str) -> None:
        self.name, self.submit_file = name, submit_file
        self.post: list[str] = []
        self.retry = self.tries = self.priority = 0
        self.category = ""
        self.state = "waiting"
        self.parents: list[str] = []
        self.children: list[str] = []
        self.error = ""
        self.cluster = -1


class Dag:
    """A DAG file with what a rescue file says is done.

    Parameters
    ----------
    path : Path
        The DAG file.

    Attributes
    ----------
    nodes : dict
        By name, in the order of the file.
    limits : dict
        How many nodes of a category may be in the queue.
    rescue : int
        Number of the rescue file that was used, 0 if there was none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.nodes: dict[str, Node] = {}
        self.limits: dict[str, int] = {}
        self._read(path)
        for node in self.nodes.values():
            for child in node.children:
                self.nodes[child].parents.append(node.name)
        self.rescue = last_rescue(path)
        if self.rescue:
            self._read(rescue_file(path, self.rescue))
        self.update()

    def _read(self, path: Path) -> None:
        for line in path.read_text().splitlines():
            words = line.split()
            if words and not line.startswith("#"):
                self._take(words)

    def _take(self, words: list[str]) -> None:
        match words:
            case ["JOB", name, submit_file, *_]:
                self.nodes[name] = Node(name, submit_file)
            case ["SCRIPT", "POST", name, *script]:
                self.nodes[name].post = script
            case ["PRIORITY", name, value]:
                self.nodes[name].priority = int(value)
            case ["RETRY", name, value]:
                self.nodes[name].retry = int(value)
            case ["CATEGORY", name, category]:
                self.nodes[name].category = category
            case ["MAXJOBS", category, limit]:
                self.limits[category] = int(limit)
            case ["DONE", name]:
                self.nodes[name].state = "done"
            case ["PARENT", *rest]:
                at = rest.index("CHILD")
                for parent in rest[:at]:
                    self.nodes[parent].children += rest[at + 1 :]

    def update(self) -> None:
        """Find the nodes that have become ready, and those that never will."""
        for node in self.nodes.values():  # the file has no order that helps, and DAGs of tests are small
            if node.state == "waiting" and all(self.nodes[name].state == "done" for name in node.parents):
                node.state = "ready"
        changed = True
        while changed:
            changed = False
            for node in self.nodes.values():
                if node.state == "waiting" and any(self.nodes[n].state in ("failed", "futile") for n in node.parents):
                    node.state, changed = "futile", True

    def count(self, *states: str) -> int:
        """How many nodes are in one of these states."""
        return sum(node.state in states for node in self.nodes.values())

    def ready(self) -> list[Node]:
        """Nodes that may be submitted now, those of highest priority first."""
        found: list[Node] = []
        queued = [node.category for node in self.nodes.values() if node.state == "queued"]
        for node in sorted(self.nodes.values(), key=lambda node: -node.priority):
            if node.state == "ready" and queued.count(node.category) < self.limits.get(node.category, len(self.nodes)):
                found.append(node)
                queued.append(node.category)
        return found

    def write_rescue(self) -> Path:
        """Write the next rescue file; gives its path."""
        path = rescue_file(self.path, last_rescue(self.path) + 1)
        done = [node for node in self.nodes.values() if node.state == "done"]
        failed = [node.name for node in self.nodes.values() if node.state == "failed"]
        lines = [
            "# Rescue DAG file, created after running",
            f"#   the {self.path.name} DAG file",
            f"# Created {time.strftime('%m/%d/%Y %H:%M:%S UTC', time.gmtime())}",
            "# Rescue DAG version: 2.0.1 (partial)",
            "#",
            f"# Total number of Nodes: {len(self.nodes)}",
            f"# Nodes premarked DONE: {len(done)}",
            f"# Nodes that failed: {len(failed)}",
            "#   " + "".join(f"{name}," for name in failed) + "<ENDLIST>",
            "",
        ]
        for node in self.nodes.values():
            lines += [f"DONE {node.name}"] * (node.state == "done")
            lines += [f"RETRY {node.name} {node.retry}"] * (node.retry > 0)
        path.write_text("\n".join(lines) + "\n")
        return path


def rescue_file(dag: Path, number: int) -> Path:
    """Path of a rescue file."""
    return dag.with_name(f"{dag.name}.rescue{number:03d}")


def last_rescue(dag: Path) -> int:
    """Number of the newest rescue file; 0 if there is none."""
    return max((int(path.name[-3:]) for path in dag.parent.glob(f"{dag.name}.rescue[0-9][0-9][0-9]")), default=0)
