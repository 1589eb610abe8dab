"""General policy engines, each used the best way that its documentation gives.

They are imported by name when they are asked: each may be missing, and none has types.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

from policy_engines import Call, Engine, by_target, regex
from policy_scene import Rule, Scene


class Casbin(Engine):
    """pycasbin. Its matcher looks at the target first, and at names before patterns."""

    package = "casbin"
    _MODEL = """
        [request_definition]
        r = sub, obj
        [policy_definition]
        p = sub, obj, how
        [policy_effect]
        e = some(where (p.eft == allow))
        [matchers]
        m = r.obj == p.obj && (r.sub == p.sub || p.how == "pattern" && regexMatch(r.sub, p.sub))
    """

    def load(self) -> None:
        """Add the rules to an `Enforcer`, whose log is off unless it is asked for."""
        casbin = import_module("casbin")
        self._add(casbin.Enforcer(casbin.Enforcer.new_model(text=self._MODEL)))

    def question(self, path: str, target: str) -> Call:
        """Enforce."""
        enforce: Callable[[str, str], bool] = self._enforcer.enforce
        return lambda: enforce(path, target)

    def _add(self, enforcer: Any) -> None:  # noqa: ANN401 - casbin has no types
        self._enforcer = enforcer
        enforcer.model.add_policies(
            "p",
            "p",
            [
                [f"{regex(rule.source)}$", rule.target, "pattern"] if rule.is_wild else [*rule, "name"]
                for rule in self.rules
            ],
        )


class CasbinOfTarget(Casbin):
    """pycasbin, set to look at the rules of the target only (it calls this a cache)."""

    def load(self) -> None:
        """Add the rules to a `FastEnforcer`."""
        casbin, target = import_module("casbin"), [1]
        model = import_module("casbin.model").FastModel(target)
        model.load_model_from_text(self._MODEL)
        self._add(casbin.FastEnforcer(model, cache_key_order=target))


class Cedar(Engine):
    """cedarpy, with policies that are parsed once. In its `like`, `*` goes beyond a segment."""

    package = "cedarpy"

    def __init__(self, scene: Scene) -> None:
        """Write one policy a rule."""
        super().__init__(scene)
        self._text = "\n".join(map(self._policy, self.rules))

    def load(self) -> None:
        """Parse them."""
        cedarpy = import_module("cedarpy")
        self._ask = cedarpy.is_authorized
        self._policies = cedarpy.PolicySet.from_str(self._text)
        self._entities = cedarpy.Entities.from_json_str("[]")

    def question(self, path: str, target: str) -> Call:
        """Authorize; the path stands in the context too, for the names of entities have no `like`."""

        def call() -> bool:
            request = {
                "principal": {"type": "Peer", "id": path},
                "action": {"type": "Action", "id": "call"},
                "resource": {"type": "Target", "id": target},
                "context": {"path": path},
            }
            allowed: bool = self._ask(request, self._policies, self._entities).allowed
            return allowed

        return call

    @staticmethod
    def _policy(rule: Rule) -> str:
        to = f'resource == Target::"{rule.target}"'
        if rule.is_wild:
            return f'permit(principal, action, {to}) when {{ context.path like "{rule.source}" }};'
        return f'permit(principal == Peer::"{rule.source}", action, {to});'


class Rego(Engine):
    """regopy, with a compiled bundle, and the rules as data that is looked up by target and by name."""

    package = "regopy"
    _MODULE = """
        package mesh
        import rego.v1
        default allow := false
        allow if data.names[input.target][input.peer]
        allow if {
            some pattern in data.patterns[input.target]
            glob.match(pattern, ["/"], input.peer)
        }
    """

    def __init__(self, scene: Scene) -> None:
        """Write the rules as data."""
        super().__init__(scene)
        names = by_target(rule for rule in self.rules if not rule.is_wild)
        patterns = by_target(rule for rule in self.rules if rule.is_wild)
        as_object = {target: dict.fromkeys(sources, True) for target, sources in names.items()}
        self._data = json.dumps({"names": as_object, "patterns": patterns})

    def load(self) -> None:
        """Build the bundle."""
        self._interpreter = import_module("regopy").Interpreter()
        self._interpreter.add_data_json(self._data)
        self._interpreter.add_module("mesh", self._MODULE)
        self._bundle = self._interpreter.build(None, ["mesh/allow"])

    def question(self, path: str, target: str) -> Call:
        """Query the bundle."""

        def call() -> bool:
            self._interpreter.set_input({"peer": path, "target": target})
            output = self._interpreter.query_bundle_entrypoint(self._bundle, "mesh/allow")
            return bool(output[0].expressions[0])

        return call
