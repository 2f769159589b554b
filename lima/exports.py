"""Lineage in the words of two standards: W3C PROV (as PROV-JSON) and OpenLineage events."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from lima.labels import label
from lima.node import Node
from lima.queries import metas

NAMESPACE = "https://lima-lineage.readthedocs.io/ns#"
"""Of the terms that lima adds; a name, which nobody needs to fetch."""

OPENLINEAGE = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
"""The schema that the event follows."""

_IDS = uuid.uuid5(uuid.NAMESPACE_URL, NAMESPACE)


def prov(
    nodes: Sequence[Node],
    outputs: Mapping[str, Node],
    checks: Mapping[str, Any],
    environment: Mapping[str, str],
) -> str:
    """A PROV-JSON document: values are entities, operations activities, lima is the agent.

    Entities are called by their digests, so documents of lineages that share values fit together.
    """
    known = metas(nodes, {outputs[name].digest: check for name, check in checks.items()})
    names: dict[bytes, list[str]] = {}
    for name, node in outputs.items():
        names.setdefault(node.digest, []).append(name)
    agent: dict[str, Any] = {
        "prov:type": {"$": "prov:SoftwareAgent", "type": "prov:QUALIFIED_NAME"}
    }
    agent |= {f"lima:{key}": value for key, value in environment.items()}
    found: dict[str, Any] = {
        "prefix": {"lima": NAMESPACE, "value": f"{NAMESPACE}value/", "run": f"{NAMESPACE}run/"},
        "agent": {"lima:software": agent},
        "entity": {},
        "activity": {},
        "wasGeneratedBy": {},
        "used": {},
        "wasAssociatedWith": {},
    }
    for node in nodes:
        found["entity"][_entity(node)] = _facts(node, names, known)
        if not node.is_leaf:
            _activity(found, node)
    return json.dumps({key: part for key, part in found.items() if part}, indent=1) + "\n"


def _entity(node: Node) -> str:
    return f"value:{node.digest.hex()}"


def _facts(node: Node, names: Mapping[bytes, list[str]], known: Mapping[bytes, Any]) -> Any:
    shape, dtype = known.get(node.digest, (None, None))
    facts: dict[str, Any] = {"prov:label": node.name or label(node)}
    if shape is not None:
        facts |= {"lima:shape": json.dumps(shape), "lima:dtype": dtype.str}
    if node.digest in names:
        facts["lima:result"] = names[node.digest]
    return facts


def _activity(found: dict[str, Any], node: Node) -> None:
    digest = node.digest.hex()
    run = f"run:{digest}"
    facts: dict[str, Any] = {"prov:label": label(node), "lima:operation": node.spec.op}
    if node.outcome is not None:
        facts |= {"lima:outcome": node.outcome.outcome.value, "lima:seconds": node.outcome.seconds}
    found["activity"][run] = facts
    found["wasGeneratedBy"][f"_:g{digest}"] = {"prov:entity": _entity(node), "prov:activity": run}
    found["wasAssociatedWith"][f"_:a{digest}"] = {
        "prov:activity": run,
        "prov:agent": "lima:software",
    }
    for k, item in enumerate(node.inputs):
        if isinstance(item, Node):
            found["used"][f"_:u{digest}_{k}"] = {
                "prov:activity": run,
                "prov:entity": _entity(item),
                "lima:input": k,
            }


def openlineage(
    nodes: Sequence[Node],
    outputs: Mapping[str, Node],
    checks: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    job: str,
    namespace: str,
    time: datetime | None,
) -> str:
    """One OpenLineage event, COMPLETE: leaves are the inputs, results the outputs.

    The run is named by the digests of the results, so the same lineage is the same run. `time` is
    that of the event, now by default; a naive one is taken for UTC.
    """
    producer = f"{NAMESPACE}lima-{environment.get('lima', 'unknown')}"
    known = metas(nodes, {outputs[name].digest: check for name, check in checks.items()})
    identity = " ".join(f"{name}={node.digest.hex()}" for name, node in sorted(outputs.items()))
    facets = {
        "lima_environment": {
            "_producer": producer,
            "_schemaURL": f"{NAMESPACE}environment",
            **environment,
        },
        "lima": {
            "_producer": producer,
            "_schemaURL": f"{NAMESPACE}lineage",
            "nodes": len(nodes),
            "operations": sorted({node.spec.op for node in nodes if not node.is_leaf}),
        },
    }
    when = datetime.now(UTC) if time is None else time
    event = {
        "eventType": "COMPLETE",
        "eventTime": (when if when.tzinfo else when.replace(tzinfo=UTC)).isoformat(),
        "run": {"runId": str(uuid.uuid5(_IDS, identity)), "facets": facets},
        "job": {"namespace": namespace, "name": job},
        "inputs": [
            _dataset(namespace, node.name or node.digest.hex(), node, known, producer)
            for node in nodes
            if node.is_leaf
        ],
        "outputs": [
            _dataset(namespace, name, node, known, producer) for name, node in outputs.items()
        ],
        "producer": producer,
        "schemaURL": OPENLINEAGE,
    }
    return json.dumps(event, indent=1) + "\n"


def _dataset(
    namespace: str, name: str, node: Node, known: Mapping[bytes, Any], producer: str
) -> dict[str, Any]:
    shape, dtype = known.get(node.digest, (None, None))
    array: dict[str, Any] = {
        "_producer": producer,
        "_schemaURL": f"{NAMESPACE}array",
        "digest": node.digest.hex(),
    }
    if shape is not None:
        array |= {"shape": list(shape), "dtype": dtype.str}
    return {"namespace": namespace, "name": name, "facets": {"lima_array": array}}
